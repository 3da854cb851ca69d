"""Ready and alive, the reasons why not, and what probes and scrapers get."""

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
from consumer.observability.health import BEAT_OVERDUE, MOST_CLIENTS, Health, HttpServer, serve
from consumer.observability.metrics import Metrics
from consumer.settings.model import HttpSettings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_begins_alive_and_not_ready() -> None:
    health = Health()
    assert not health.unhealthy_reasons()
    assert set(health.unready_reasons()) == {"starting"}


def test_it_is_ready_when_every_reason_has_been_taken_back() -> None:
    health = Health()
    health.not_ready("apply", "NetworkTimeout, attempt 1")
    health.not_ready("apply", "NetworkTimeout, attempt 2")
    health.ready("starting")
    assert health.unready_reasons() == {"apply": "NetworkTimeout, attempt 2"}
    health.ready("apply")
    health.ready("apply")
    assert not health.unready_reasons()


def test_an_outage_makes_it_unready_and_not_unhealthy() -> None:
    health = Health()
    health.not_ready("apply", "ServerSelectionTimeout")
    assert not health.unhealthy_reasons()


def test_what_is_unhealthy_is_not_ready_either() -> None:
    health = Health()
    health.ready("starting")
    health.unhealthy("stalled", "no progress for 120 s")
    assert health.unhealthy_reasons()
    assert set(health.unready_reasons()) == {"stalled"}
    health.healthy("stalled")
    assert not health.unready_reasons()


def test_reasons_of_one_kind_can_be_taken_back_together() -> None:
    health = Health()
    health.not_ready("held:t-0", "")
    health.not_ready("held:t-1", "")
    health.ready_where("held:")
    assert set(health.unready_reasons()) == {"starting"}


def test_an_event_loop_that_stops_turning_is_noticed_and_so_is_its_return() -> None:
    clock = Clock()
    health = Health(clock)
    clock.now = 1000.0
    assert not health.unhealthy_reasons()  # nothing is expected before the first beat
    health.beat()
    clock.now += BEAT_OVERDUE - 1
    assert not health.unhealthy_reasons()
    clock.now += 1
    assert health.unhealthy_reasons() == {"event_loop": "no beat for 60 s"}
    health.beat()
    assert not health.unhealthy_reasons()


def test_reasons_that_were_given_do_not_change_afterwards() -> None:
    health = Health()
    reasons = health.unready_reasons()
    health.ready("starting")
    assert set(reasons) == {"starting"}


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


def get(server: HttpServer, path: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept": accept})
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


def test_a_scraper_that_takes_openmetrics_gets_it(server: HttpServer) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    _, content_type, body = get(server, "/metrics", accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert b"# TYPE consumer_rebalances counter\n" in body


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
