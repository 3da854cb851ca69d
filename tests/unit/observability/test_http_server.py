"""What probes, scrapers and people get over HTTP, and what slow clients do not get."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError
from consumer.observability.health import Health
from consumer.observability.http_server import (
    CLIENT_TIMEOUT,
    HEADERS,
    MOST_CLIENTS,
    HttpServer,
    serve,
)
from consumer.observability.incidents import RecentIncidents
from consumer.observability.instance_status import StatusReader
from consumer.observability.metrics import Metrics
from consumer.settings.model import HttpSettings, Settings

PATHS = ("/", "/status.json", "/status_page.css", "/status_page.js", "/status_page.svg")


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def status(health: Health, metrics: Metrics) -> StatusReader:
    return StatusReader(Settings(), health, metrics, RecentIncidents())


@pytest.fixture
def server(health: Health, metrics: Metrics, status: StatusReader) -> Iterator[HttpServer]:
    with serve(HttpSettings(host="127.0.0.1", port=0), health, metrics, status) as server:
        assert server is not None
        yield server


def ask(
    server: HttpServer, path: str, method: str = "GET", accept: str = "*/*"
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def get(server: HttpServer, path: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    response, body = ask(server, path, accept=accept)
    return response.status, response.headers["Content-Type"], body


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
    health.not_ready("stalled", "no progress for 120 s", restart_helps=True)
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


def test_any_other_path_says_in_one_line_which_there_are(server: HttpServer) -> None:
    for path in (
        "/nothing",
        "/status_page.py",
        "/../health.py",
        "/%2e%2e/health.py",
        "/index.html",
    ):
        code, _, body = get(server, path)
        paths = b"/ /status.json /livez /readyz /metrics"
        assert (code, body) == (404, b"not found; there are " + paths + b"\n")


def test_a_port_in_use_is_a_failed_precondition_that_names_the_setting(
    server: HttpServer, health: Health, metrics: Metrics, status: StatusReader
) -> None:
    with pytest.raises(PreconditionError, match=rf"^http\.port: .*:{server.port}: .*in use"):
        HttpServer("127.0.0.1", server.port, health, metrics, status)


def test_nothing_is_served_while_no_port_is_set(
    health: Health, metrics: Metrics, status: StatusReader
) -> None:
    with serve(HttpSettings(), health, metrics, status) as server:
        assert server is None


def test_a_client_that_says_nothing_keeps_nobody_waiting(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/livez")[0] == 200


@pytest.mark.reliability("F72")
def test_a_client_that_trickles_keeps_no_thread(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.observability.http_server.CLIENT_TIMEOUT", 0.3)
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
def test_one_long_answer_is_made_at_a_time_and_probes_wait_for_none(
    server: HttpServer, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(_: str) -> tuple[str, bytes]:
        begun.release()
        assert go_on.wait(10)
        return "text/plain", b"numbers"

    monkeypatch.setattr(metrics, "exposition", slow)
    scrapers = [threading.Thread(target=get, args=(server, "/metrics")) for _ in range(2)]
    for scraper in scrapers:
        scraper.start()
    assert begun.acquire(timeout=10)
    assert get(server, "/livez")[0] == 200
    assert not begun.acquire(timeout=0.2), "two threads would take the CPU from the event loop"
    go_on.set()
    for scraper in scrapers:
        scraper.join(10)
    assert begun.acquire(timeout=10)


@pytest.mark.reliability("F72")
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/nothing", *PATHS])
def test_head_is_answered_without_a_body(server: HttpServer, path: str) -> None:
    head, body = ask(server, path, "HEAD")
    assert (head.status, body) == (ask(server, path)[0].status, b"")
    assert int(head.headers["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_any_other_method_is_refused_in_one_line(server: HttpServer, method: str) -> None:
    response, body = ask(server, "/", method)
    assert (response.status, body) == (405, b"GET and HEAD are answered, no more\n")
    assert response.headers["Allow"] == "GET, HEAD"


def test_what_is_no_request_is_refused_in_one_line_that_is_no_markup(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET <b>\xe2\x80\xae</b> HTTP/1.x\r\n\r\n")
        with client.makefile("rb") as file:
            answer = file.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.partition(b"\r\n")[0]
    assert b"Content-Type: text/plain" in head
    assert body.count(b"\n") == 1


@pytest.mark.reliability("F99")
@pytest.mark.parametrize("path", ["/livez", "/metrics", "/nothing", *PATHS])
def test_every_answer_forbids_whatever_is_from_elsewhere(server: HttpServer, path: str) -> None:
    headers = ask(server, path)[0].headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_status_is_the_same_as_a_page_and_as_json(server: HttpServer) -> None:
    code, content_type, page = get(server, "/?again")
    assert (code, content_type) == (200, "text/html; charset=utf-8")
    assert page.startswith(b"<!doctype html>\n<html lang=")
    code, content_type, body = get(server, "/status.json")
    assert (code, content_type) == (200, "application/json")
    status = json.loads(body)
    assert status["state"] == "not ready"
    assert f"<title>{status['title']}</title>".encode() in page


async def test_everything_is_answered_while_the_event_loop_is_stuck(server: HttpServer) -> None:
    # This very test is what the loop is stuck in.
    for path in ("/livez", "/metrics", *PATHS):
        assert ask(server, path)[0].status == 200


@pytest.mark.reliability("F72")
def test_many_clients_that_trickle_keep_no_probe_waiting(server: HttpServer) -> None:
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(MOST_CLIENTS * 3)
        ]
        for _ in range(5):
            for client in slow:
                with contextlib.suppress(ConnectionError):
                    client.send(b"GET / HTTP/1.0\r\nX-Header: and no end\r\n")
            began = time.monotonic()
            assert get(server, "/livez")[0] == 200
            assert time.monotonic() - began < CLIENT_TIMEOUT  # nobody had to be waited for


@pytest.mark.reliability("F72")
def test_a_client_that_does_not_listen_keeps_no_thread(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.observability.http_server.CLIENT_TIMEOUT", 0.3)
    huge = b"x" * 50_000_000
    monkeypatch.setattr("consumer.observability.http_server.render_page", lambda _: huge)
    done = threading.Event()

    def close(request: socket.socket) -> None:
        request.close()
        done.set()

    monkeypatch.setattr(server, "shutdown_request", close)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert done.wait(30)


@pytest.mark.reliability("F90")
def test_ipv6_can_be_listened_on(health: Health, metrics: Metrics, status: StatusReader) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(PreconditionError):
            HttpServer("::1", 0, health, metrics, status)
        return
    with serve(HttpSettings(host="::1", port=0), health, metrics, status) as server:
        assert server is not None
        with socket.create_connection(("::1", server.port), timeout=10) as client:
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.0 200 ")


@pytest.mark.reliability("F88")
def test_a_resolver_that_keeps_silent_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, health: Health, metrics: Metrics, status: StatusReader
) -> None:
    asked: list[str] = []

    def getfqdn(name: str = "") -> str:
        asked.append(name)
        return name

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    with serve(HttpSettings(host="127.0.0.1", port=0), health, metrics, status) as server:
        assert server is not None
        assert get(server, "/livez")[0] == 200
    assert asked == []
