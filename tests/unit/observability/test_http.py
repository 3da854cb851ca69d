"""What probes and scrapers get."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError
from consumer.observability.health import MOST_CLIENTS, Health, HttpServer, serve
from consumer.observability.metrics import Metrics
from consumer.settings import HttpSettings


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def server(health: Health, metrics: Metrics) -> Iterator[HttpServer]:
    with serve(HttpSettings(host="127.0.0.1", port=0), health, metrics) as server:
        assert server is not None
        yield server


def get(server: HttpServer, path: str) -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def test_readyz_gives_the_reasons_until_there_are_none(server: HttpServer, health: Health) -> None:
    status, content_type, body = get(server, "/readyz")
    assert (status, content_type) == (503, "application/json")
    assert json.loads(body) == {
        "ok": False,
        "reasons": {"starting": "not assigned to the group yet"},
    }
    health.ready("starting")
    status, _, body = get(server, "/readyz?verbose")
    assert (status, json.loads(body)) == (200, {"ok": True, "reasons": {}})


def test_livez_fails_only_when_a_restart_would_help(server: HttpServer, health: Health) -> None:
    assert get(server, "/livez")[0] == 200
    health.unhealthy("stalled", "no progress for 120 s")
    status, _, body = get(server, "/livez")
    assert (status, json.loads(body)["reasons"]) == (503, {"stalled": "no progress for 120 s"})


def test_metrics_are_served_in_prometheus_format(server: HttpServer, metrics: Metrics) -> None:
    metrics.lag.labels(*TopicPartition("conversation.events", 3)).set(42)
    status, content_type, body = get(server, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert b'consumer_lag_records{partition="3",topic="conversation.events"} 42.0\n' in body


def test_any_other_path_says_which_there_are(server: HttpServer) -> None:
    status, _, body = get(server, "/")
    assert (status, body) == (404, b"/livez /readyz /metrics\n")


def test_a_port_in_use_is_a_failed_precondition_that_names_the_setting(
    server: HttpServer, health: Health, metrics: Metrics
) -> None:
    with pytest.raises(PreconditionError, match=rf"^http\.port: .*:{server.port}: .*in use"):
        HttpServer("127.0.0.1", server.port, health, metrics)


def test_nothing_is_served_while_no_port_is_set(health: Health, metrics: Metrics) -> None:
    with serve(HttpSettings(), health, metrics) as server:
        assert server is None


def test_a_client_that_says_nothing_keeps_nobody_waiting(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/livez")[0] == 200


@pytest.mark.reliability("F72")
def test_a_client_that_trickles_keeps_no_thread(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.observability.health.CLIENT_TIMEOUT", 0.3)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(0.05)  # a byte every now and then, for ten seconds
        assert any(hung_up(client) for _ in range(200))
    assert get(server, "/livez")[0] == 200


def hung_up(client: socket.socket) -> bool:
    """Say one more byte of a request; tell whether the other side has had enough."""
    try:
        client.send(b"G")
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.reliability("F72")
def test_many_clients_get_a_bounded_number_of_threads_and_probes_are_answered(
    server: HttpServer,
) -> None:
    before = threading.active_count()
    with contextlib.ExitStack() as silent:
        for _ in range(MOST_CLIENTS * 3):
            silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert get(server, "/livez")[0] == 200
        assert threading.active_count() - before <= MOST_CLIENTS


@pytest.mark.reliability("F72")
def test_head_is_answered_without_a_body(server: HttpServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("HEAD", "/livez")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0
    connection.close()


@pytest.mark.reliability("F90")
def test_ipv6_can_be_listened_on(health: Health, metrics: Metrics) -> None:
    try:
        server = HttpServer("::1", 0, health, metrics)
    except PreconditionError:
        # Where this machine has no IPv6 nobody else can listen there either.
        with (
            pytest.raises(OSError, match="ddress"),
            socket.create_server(("::1", 0), family=socket.AF_INET6),
        ):
            pass
        return
    try:
        with socket.create_connection(("::1", server.port), timeout=10) as client:
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.0 200 ")
    finally:
        server.close()


@pytest.mark.reliability("F88")
def test_a_resolver_that_keeps_silent_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, health: Health, metrics: Metrics
) -> None:
    asked: list[str] = []

    def getfqdn(name: str = "") -> str:
        asked.append(name)
        return name

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    with serve(HttpSettings(host="127.0.0.1", port=0), health, metrics) as server:
        assert server is not None
        assert get(server, "/livez")[0] == 200
    assert asked == []
