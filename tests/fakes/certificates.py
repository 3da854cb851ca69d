"""Certificates of localhost, for as many days as a test wants."""

from __future__ import annotations

import subprocess
from pathlib import Path


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
