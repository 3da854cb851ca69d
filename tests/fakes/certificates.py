"""Certificates of localhost, for as many days as a test wants."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.processes import LOOPBACK


def localhost_certificate(folder: Path, name: str = "localhost", days: int = 2) -> Path:
    """Return a file with a key and a certificate that signs itself; expired where ``days`` < 0."""
    made, extensions = folder / f"{name}.pem", folder / f"{name}.ext"
    key, request, certificate = (folder / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    signed = ("-signkey", key, "-days", days, "-extfile", extensions)
    _openssl("x509", "-req", "-in", request, *signed, "-out", certificate)
    made.write_text(key.read_text() + certificate.read_text())
    return made


def _openssl(*arguments: object) -> None:
    command = ["openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


@asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[tuple[int, asyncio.Queue[Any]]]:
    """A TLS port that says nothing, and the clients' certificates that it is shown."""
    shown: asyncio.Queue[Any] = asyncio.Queue()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown.put_nowait(writer.get_extra_info("peercert"))
        writer.close()

    async with await asyncio.start_server(hang_up, LOOPBACK, 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1], shown


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
