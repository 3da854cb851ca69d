"""Whether the process is ready and whether it lives, by named reasons why not, and HTTP for it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, cast

from consumer.errors import PreconditionError
from consumer.observability.metrics import Metrics
from consumer.settings.model import HttpSettings

STARTING = "starting"
EVENT_LOOP = "event_loop"

BEAT_OVERDUE = 60.0
"""Seconds without a beat of the event loop after which the process counts as stuck."""

CLIENT_TIMEOUT = 5.0
"""Seconds that a client may take in all, however slowly it says what it wants."""

MOST_CLIENTS = 16
"""Clients that are answered at once, each by a thread: probes and scrapers are few."""

SLOT_TIMEOUT = 1.0
"""Seconds that a client is kept waiting for the thread of another one that was cut off."""


class Health:
    """The reasons, by name, why the process is not ready, or not even healthy.

    Ready means: assigned, reading and storing. Healthy means: no restart would help. An
    outage of the database makes it unready and never unhealthy. Safe from any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin unready: the process starts. ``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._guard = threading.Lock()
        self._not_ready: dict[str, str] = {STARTING: "not assigned to the group yet"}
        self._unhealthy: dict[str, str] = {}
        self._last_beat: float | None = None

    def not_ready(self, name: str, detail: str) -> None:
        """Say why the process is not ready; the same name again replaces the detail."""
        with self._guard:
            self._not_ready[name] = detail

    def ready(self, name: str) -> None:
        """Take that reason back."""
        with self._guard:
            self._not_ready.pop(name, None)

    def ready_where(self, prefix: str) -> None:
        """Take every reason back whose name begins so."""
        with self._guard:
            for name in [name for name in self._not_ready if name.startswith(prefix)]:
                del self._not_ready[name]

    def unhealthy(self, name: str, detail: str) -> None:
        """Say why a restart would help."""
        with self._guard:
            self._unhealthy[name] = detail

    def healthy(self, name: str) -> None:
        """Take that reason back."""
        with self._guard:
            self._unhealthy.pop(name, None)

    def beat(self) -> None:
        """Show that the event loop turns. From the first beat on, its absence is noticed."""
        with self._guard:
            self._last_beat = self._clock()

    def unhealthy_reasons(self) -> dict[str, str]:
        """Return why a restart would help, by name; nothing where the process is well."""
        with self._guard:
            reasons = dict(self._unhealthy)
            if self._last_beat is not None:
                silent = self._clock() - self._last_beat
                if silent >= BEAT_OVERDUE:
                    reasons[EVENT_LOOP] = f"no beat for {silent:.0f} s"
        return reasons

    def unready_reasons(self) -> dict[str, str]:
        """Return why the process is not ready; what is not healthy is not ready either."""
        unhealthy = self.unhealthy_reasons()
        with self._guard:
            return {**self._not_ready, **unhealthy}


class HttpServer(ThreadingHTTPServer):
    """Serves /livez, /readyz and /metrics, on threads: it answers while the event loop is stuck.

    A thread for each client, but only so many, and none for longer than a client may take.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, health: Health, metrics: Metrics) -> None:
        """Listen and answer at once, until ``close``. Port 0 takes a free one, see ``port``.

        Raises ``PreconditionError`` when the address cannot be listened on.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.health, self.metrics = health, metrics
        self._slots = threading.BoundedSemaphore(MOST_CLIENTS)
        self._guard = threading.Lock()
        self._until: dict[socket.socket, float] = {}
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise PreconditionError(
                f"http.port: cannot listen on {host}:{port}: {error.strerror or error}; "
                "set another http.port, or none"
            ) from error
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.1,), name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def server_bind(self) -> None:
        """Listen, and ask no resolver for a name: it may keep silent, and nobody needs it."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- a base's
        """Answer on a thread; where all are taken the oldest client has had its time."""
        if not self._slots.acquire(blocking=False):
            with self._guard:
                oldest = list(self._until)[:1]
            self._cut(oldest)
            if not self._slots.acquire(timeout=SLOT_TIMEOUT):
                self.shutdown_request(request)
                return
        with self._guard:
            self._until[request] = time.monotonic() + CLIENT_TIMEOUT
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- likewise
        """Answer, and make room for another client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._until.pop(request, None)
            self._slots.release()

    def service_actions(self) -> None:
        """Cut off whoever takes too long: a byte now and then keeps no thread."""
        with self._guard:
            late = [who for who, until in self._until.items() if time.monotonic() >= until]
        self._cut(late)

    def _cut(self, requests: list[socket.socket]) -> None:
        for request in requests:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Say nothing: a probe that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_TIMEOUT
    server_version = "consumer"
    sys_version = ""

    def do_GET(self) -> None:
        self.wfile.write(self._head())

    def do_HEAD(self) -> None:
        self._head()

    def _head(self) -> bytes:
        """Send everything but the body, and return that."""
        status, content_type, body = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        server = cast("HttpServer", self.server)
        match self.path.partition("?")[0]:
            case "/livez":
                return _as_json(server.health.unhealthy_reasons())
            case "/readyz":
                return _as_json(server.health.unready_reasons())
            case "/metrics":
                accept = self.headers.get("Accept", "")
                return HTTPStatus.OK, *server.metrics.exposition(accept)
            case _:
                text = b"/livez /readyz /metrics\n"
                return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", text

    def log_message(self, *_: object) -> None:
        """Say nothing: probes come every few seconds."""


def _as_json(reasons: dict[str, str]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    body = {"ok": not reasons, "reasons": reasons}
    return status, "application/json", json.dumps(body).encode() + b"\n"


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
