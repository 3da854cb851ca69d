"""The README's first message: its servers, its lines of Python, and the document they lead to."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

README = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
CONSUMER = (sys.executable, "-m", "consumer")


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[tuple[Process, str]]:
    """Run the servers; give the process, and what it said when it was ready."""
    process = await asyncio.create_subprocess_exec(
        *(*CONSUMER, "demo", "--serve", *options), stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    try:
        said = await asyncio.wait_for(process.stdout.readuntil(b"ends all of it\n"), 60)
        yield process, said.decode()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


async def run(*command: str, lines: str = "", **variables: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**os.environ, **variables}
    )
    out, _ = await asyncio.wait_for(process.communicate(lines.encode()), 60)
    return process.returncode or 0, out.decode()


def first_message() -> tuple[str, list[str]]:
    """Return the README's lines of Python, and the command that shows the document."""
    _, _, section = README.partition("## The first message from Python\n")
    section = section.partition("\n## ")[0]
    (source,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (command,) = re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)
    return source, command.split()


@pytest.mark.reliability("F103")
async def test_the_first_message_of_the_readme_leads_to_its_document() -> None:
    source, (program, *arguments) = first_message()
    assert program == ".venv/bin/consumer"
    assert len([line for line in source.splitlines() if line]) <= 5
    async with serving("--kafka-port=0", "--mongodb-port=0") as (process, said):
        kafka, mongodb = re.findall(r"127\.0\.0\.1:\d+", said)
        here = source.replace("localhost:9092", kafka.replace("127.0.0.1", "localhost"))
        assert here != source
        # An empty line ends the block, as it does for whoever types.
        typed = await run(sys.executable, "-m", "asyncio", lines=here + "\n", PYTHON_BASIC_REPL="1")
        assert typed[0] == 0
        uri = mongodb.replace("127.0.0.1", "mongodb://localhost")
        async with asyncio.timeout(30):
            shown = await run(*CONSUMER, *arguments, CONSUMER_MONGO__URI=uri)
            while shown[0] != 0:  # not applied yet
                shown = await run(*CONSUMER, *arguments, CONSUMER_MONGO__URI=uri)
        assert re.search(r"session\s+s-1\b", shown[1])
        assert re.search(r"language\s+en-US\b", shown[1])
        assert re.search(r"status\s+initiated\b", shown[1])
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


@pytest.mark.reliability("F103")
async def test_a_port_that_is_taken_is_named_before_anything_is_started() -> None:
    taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken:
        process = await asyncio.create_subprocess_exec(
            *(*CONSUMER, "demo", "--serve", f"--kafka-port={port}"), stdout=PIPE, stderr=PIPE
        )
        _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 3
    assert f"cannot have port {port}: Address already in use" in error.decode()
