"""An OAuth 2 token endpoint, for client credentials, whose tokens Kafka's own validator takes."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

LIFE = 3600


class TokenRequest(NamedTuple):
    """What the endpoint was asked."""

    path: str
    authorization: str
    body: str


class TokenEndpoint:
    """Answers with a new token each time, or with what a test says instead."""

    def __init__(self, port: int, scheme: str) -> None:
        """Listen there already."""
        self.url = f"{scheme}://localhost:{port}/token"
        self.requests: list[TokenRequest] = []
        self.life: float = LIFE
        self.user = "admin"
        self.says: tuple[int, bytes, Mapping[str, str]] | None = None

    def answer(self, request: TokenRequest) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, body and headers."""
        self.requests.append(request)
        if self.says is not None:
            return self.says
        token = unsecured_token(self.user, self.life, len(self.requests))
        return 200, json.dumps({"access_token": token, "expires_in": self.life}).encode(), {}


def unsecured_token(user: str, life: float, number: int = 0) -> str:
    """Return a JWS that nobody has signed (RFC 7515, A.5)."""
    now = time.time()
    claims = {"sub": user, "iat": now, "exp": now + life, "jti": str(number)}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    encoded = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return ".".join([*encoded, ""])


@contextmanager
def token_endpoint(context: ssl.SSLContext | None = None) -> Iterator[TokenEndpoint]:
    """Listen on the loopback, over TLS where there is a context."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = TokenRequest(self.path, self.headers.get("Authorization", ""), body)
            status, answer, headers = endpoint.answer(asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not trust the certificate hangs up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        endpoint = TokenEndpoint(server.server_address[1], "https" if context else "http")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()
