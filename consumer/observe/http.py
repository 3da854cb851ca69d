"""Health and metrics over HTTP, on a thread: it answers while the event loop is stuck."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from consumer.errors import PreconditionError
from consumer.observe.health import Health, Verdict
from consumer.observe.metrics import CONTENT_TYPE, Metrics
from consumer.settings import HttpSettings

CLIENT_TIMEOUT = 5.0
"""Seconds that a client may take to say what it wants."""

Answer = tuple[HTTPStatus, str, bytes]


class HttpServer:
    """Serves /livez, /readyz and /metrics until it is closed."""

    def __init__(self, host: str, port: int, health: Health, metrics: Metrics) -> None:
        """Listen at once. Port 0 takes a free one, see ``port``.

        Raises ``PreconditionError`` when the address cannot be listened on.
        """

        def answer(path: str) -> Answer:
            return _answer(path, health, metrics)

        try:
            self._server = _server_class(host)((host, port), _handler_class(answer))
        except OSError as error:
            raise PreconditionError(
                f"http.port: cannot listen on {host}:{port}: {error.strerror or error}; "
                "set another http.port, or none"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="http", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serve(settings: HttpSettings, health: Health, metrics: Metrics) -> Iterator[HttpServer | None]:
    """Answer while the context is open; nothing is served while no port is set.

    Raises ``PreconditionError`` when the address cannot be listened on.
    """
    if settings.port is None:
        yield None
        return
    server = HttpServer(settings.host, settings.port, health, metrics)
    try:
        yield server
    finally:
        server.close()


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        block_on_close = False

        def server_bind(self) -> None:
            """Listen, and ask no resolver for a name: it may keep silent, and nobody needs it."""
            TCPServer.server_bind(self)
            self.server_name, self.server_port = host, int(self.server_address[1])

        def handle_error(self, *_: object) -> None:
            """Say nothing: a probe that hangs up is no event."""

    return Server


def _answer(path: str, health: Health, metrics: Metrics) -> Answer:
    match path.partition("?")[0]:
        case "/livez":
            return _verdict(health.liveness())
        case "/readyz":
            return _verdict(health.readiness())
        case "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, metrics.exposition()
        case _:
            text = b"/livez /readyz /metrics\n"
            return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", text


def _verdict(verdict: Verdict) -> Answer:
    status = HTTPStatus.OK if verdict.good else HTTPStatus.SERVICE_UNAVAILABLE
    body = {"ok": verdict.good, "reasons": dict(verdict.reasons)}
    return status, "application/json", json.dumps(body).encode() + b"\n"


def _handler_class(answer: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_TIMEOUT
        server_version = "consumer"
        sys_version = ""

        def do_GET(self) -> None:
            status, content_type, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: probes come every few seconds."""

    return Handler
