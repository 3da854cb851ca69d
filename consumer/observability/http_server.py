"""HTTP for probes, scrapers and people: health, metrics and the status page."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final, cast

from consumer.errors import PreconditionError
from consumer.observability.health import Health
from consumer.observability.instance_status import StatusReader, as_document
from consumer.observability.metrics import Metrics
from consumer.observability.status_page import FOLDER, render_page
from consumer.settings.model import HttpSettings

CLIENT_TIMEOUT = 5.0
"""Seconds that a client may take in all, however slowly it asks or listens."""

MOST_CLIENTS = 16
"""Clients that are answered at once, each by a thread: probes and scrapers are few."""

SLOT_TIMEOUT = 1.0
"""Seconds that a client is kept waiting for the thread of another one that was cut off."""

JSON: Final = "application/json"
PLAIN_TEXT: Final = "text/plain; charset=utf-8"

PAGE_FILES: Final = {
    "/status_page.css": "text/css; charset=utf-8",
    "/status_page.js": "text/javascript; charset=utf-8",
    "/status_page.svg": "image/svg+xml",
}
PATHS: Final = "/ /status.json /livez /readyz /metrics"

HEADERS: Final = {
    # The page loads nothing from elsewhere, runs no script but its own, makes no markup of text,
    # and stands in nobody's frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a client is answered."""

    status: HTTPStatus
    content_type: str
    body: bytes


class HttpServer(ThreadingHTTPServer):
    """Serves health, metrics and the status page on threads: it answers while the loop is stuck.

    A thread for each client, but only so many, and none for longer than a client may take.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, health: Health, metrics: Metrics, status: StatusReader
    ) -> None:
        """Listen; answered is while ``serve_forever`` runs. Port 0 takes a free one, see ``port``.

        Raises ``PreconditionError`` when the address cannot be listened on.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.health, self.metrics, self.status = health, metrics, status
        self.work = threading.Lock()
        """One long answer is made at a time: many would take the CPU from the event loop."""
        self._until: dict[socket.socket, float] = {}
        """The clients that are being answered, the oldest first, and until when each has time."""
        self._answered = threading.Condition()
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise PreconditionError(
                f"http.port: cannot listen on {host}:{port}: {error.strerror or error}; "
                "set another http.port, or none"
            ) from error
        self.port = int(self.server_address[1])

    def server_bind(self) -> None:
        """Listen, and ask no resolver for a name: it may keep silent, and nobody needs it."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- a base's
        """Answer on a thread; where all are taken the oldest client has had its time."""
        with self._answered:
            if len(self._until) == MOST_CLIENTS:
                _cut_off(next(iter(self._until)))
            if not self._answered.wait_for(lambda: len(self._until) < MOST_CLIENTS, SLOT_TIMEOUT):
                self.shutdown_request(request)
                return
            self._until[request] = time.monotonic() + CLIENT_TIMEOUT
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- likewise
        """Answer, and make room for another client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._answered:
                del self._until[request]
                self._answered.notify()

    def service_actions(self) -> None:
        """Cut off whoever takes too long: a byte now and then keeps no thread. Called often."""
        self.status.sample()
        with self._answered:
            for request, until in self._until.items():
                if time.monotonic() >= until:
                    _cut_off(request)

    def handle_error(self, *_: object) -> None:
        """Say nothing: a probe that hangs up is no event."""


def _cut_off(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_TIMEOUT
    server_version = "consumer"
    sys_version = ""
    # Also what is no request at all is answered with headers.
    default_request_version = "HTTP/1.0"

    def do_GET(self) -> None:
        answer = self._answer()
        self._send_head(answer)
        self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self._send_head(self._answer())

    def _send_head(self, answer: HttpAnswer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()

    def _answer(self) -> HttpAnswer:
        server = cast("HttpServer", self.server)
        match self.path.partition("?")[0]:
            case "/":
                with server.work:
                    page = render_page(as_document(server.status.read()))
                return HttpAnswer(HTTPStatus.OK, "text/html; charset=utf-8", page)
            case "/status.json":
                with server.work:
                    return _as_json(HTTPStatus.OK, as_document(server.status.read()))
            case "/livez":
                return _as_health(server.health.unhealthy_reasons())
            case "/readyz":
                return _as_health(server.health.unready_reasons())
            case "/metrics":
                accept = self.headers.get("Accept", "")
                with server.work:
                    return HttpAnswer(HTTPStatus.OK, *server.metrics.exposition(accept))
            case path if path in PAGE_FILES:
                body = (FOLDER / path.removeprefix("/")).read_bytes()
                return HttpAnswer(HTTPStatus.OK, PAGE_FILES[path], body)
            case _:
                return _line(HTTPStatus.NOT_FOUND, f"not found; there are {PATHS}")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in one line what the base class cannot read or has no method for."""
        del explain
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            answer = _line(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are answered, no more")
        else:
            answer = _line(status, message or status.phrase)
        self._send_head(answer)
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: probes come every few seconds."""


def _line(status: HTTPStatus, text: str) -> HttpAnswer:
    return HttpAnswer(status, PLAIN_TEXT, text.encode("ascii", "backslashreplace") + b"\n")


def _as_json(status: HTTPStatus, value: object) -> HttpAnswer:
    return HttpAnswer(status, JSON, json.dumps(value).encode() + b"\n")


def _as_health(reasons: dict[str, str]) -> HttpAnswer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return _as_json(status, {"ok": not reasons, "reasons": reasons})


@contextmanager
def serve(
    settings: HttpSettings, health: Health, metrics: Metrics, status: StatusReader
) -> Iterator[HttpServer | None]:
    """Answer while the context is open; nothing is served while no port is set.

    Raises ``PreconditionError`` when the address cannot be listened on.
    """
    if settings.port is None:
        yield None
        return
    with HttpServer(settings.host, settings.port, health, metrics, status) as server:
        answering = partial(server.serve_forever, poll_interval=0.1)
        thread = threading.Thread(target=answering, name="http", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
