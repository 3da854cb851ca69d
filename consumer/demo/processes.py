"""Child processes that end with whoever started them, whatever ends that."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from consumer.settings.catalogue import environment_name
from consumer.settings.sources import environment

_LIFELINE: Final = Path(__file__).with_name("lifeline.py")
_STOP_SECONDS: Final = 5.0
_LONGEST_WORDS: Final = 400


@asynccontextmanager
async def child_process(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
) -> AsyncIterator[Process]:
    """Run ``command`` for as long as the body does, with its output appended to ``log``.

    At the end it gets SIGTERM, and SIGKILL where it has not gone five seconds later.
    """
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _LIFELINE, str(os.getpid()), *command),
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
        async with asyncio.timeout(patience):
            return await process.wait()
    except (TimeoutError, asyncio.CancelledError) as error:
        with suppress(ProcessLookupError):
            process.kill()
        code = await process.wait()
        if isinstance(error, asyncio.CancelledError):
            raise
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
