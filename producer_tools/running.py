"""What the commands do: open the brokers, show progress, write the result."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from consumer.errors import ExitCode, SettingsError
from consumer.settings import load_settings
from producer_tools.checking import Problem
from producer_tools.chitchat import chitchat_messages
from producer_tools.console import complain, progress, show
from producer_tools.conversations import Message
from producer_tools.delivery import LineSink, deliver
from producer_tools.end_state import Tally
from producer_tools.generate import Plan, generate
from producer_tools.lines import Line
from producer_tools.outgoing import Outgoing, Topics, encode_message
from producer_tools.publishing import Publication, check_all, publish, rereadable
from producer_tools.sender import open_sender
from producer_tools.target import Target


class Destination(StrEnum):
    """Where generated messages go."""

    STDOUT = "stdout"
    KAFKA = "kafka"


def target(
    bootstrap_servers: str | None, sessions_topic: str, events_topic: str, max_message_bytes: int
) -> Target:
    """Return where to publish, by these options and the settings. Raises ``SettingsError``."""
    settings = load_settings({"kafka.bootstrap_servers": bootstrap_servers})
    return Target(settings.kafka, Topics(sessions_topic, events_topic), max_message_bytes)


def _warn(text: str) -> None:
    complain(f"producer-tools: {text}")


def run_publish(file: Path, to: Target, *, skip_invalid: bool, as_json: bool) -> ExitCode:
    """Publish ``file`` (``-``: standard input). Raises ``BrokersError``."""
    if str(file) == "-":
        return asyncio.run(_publish("<stdin>", 0, to, skip_invalid=skip_invalid, as_json=as_json))
    with file.open("rb", buffering=0) as opened:
        descriptor = opened.fileno()
        return asyncio.run(
            _publish(str(file), descriptor, to, skip_invalid=skip_invalid, as_json=as_json)
        )


async def _publish(
    name: str, descriptor: int, to: Target, *, skip_invalid: bool, as_json: bool
) -> ExitCode:
    def report(line: Line, problem: Problem) -> None:
        complain(f"{name}:{line.number}: {problem.reason}: {problem.detail}")

    publication = Publication(descriptor, to, skip_invalid, report, _warn)
    counts, began = publication.counts, time.monotonic()
    try:
        await _check_and_publish(publication)
    except asyncio.CancelledError:
        _warn(f"interrupted; {counts.acknowledged:,} messages were published")
        raise
    result = {"published": counts.acknowledged, "rejected": counts.rejected}
    _show(result, began, as_json=as_json)
    return ExitCode.FOUND if counts.rejected else ExitCode.DONE


async def _check_and_publish(publication: Publication) -> None:
    descriptor, skip_invalid = publication.descriptor, publication.skip_invalid
    size = os.fstat(descriptor).st_size if rereadable(descriptor) else None
    if size is not None and not skip_invalid:
        with progress("checking", size) as advance:
            good = await check_all(publication, advance)
        if not good:
            _warn("nothing was published; --skip-invalid publishes the good lines")
            return
        os.lseek(descriptor, 0, os.SEEK_SET)
    with progress("publishing", size) as advance:
        await publish(publication, advance)
    if (line := publication.counts.stopped_at) is not None:
        _warn(f"stopped at line {line}; --skip-invalid goes on behind wrong lines")


def run_generate(
    plan: Plan, to: Target | None, *, rate: float | None, expect: Path | None, as_json: bool
) -> ExitCode:
    """Generate to the brokers, or to standard output where there is no ``to``.

    Raises ``BrokersError``, and ``SettingsError`` where ``expect`` cannot be written.
    """
    if expect is not None:
        _write_expected(expect, "")  # else it would be found out after everything was sent
    tally = Tally()
    messages = generate(plan, tally)
    if to is None:
        if not asyncio.run(_write_lines(messages, rate)):
            return ExitCode.DONE
    else:
        asyncio.run(_deliver("generating", messages, to, tally=tally, rate=rate, as_json=as_json))
    end_state = json.dumps(tally.end_state())
    if expect is None:
        complain(end_state)
    else:
        _write_expected(expect, end_state + "\n")
    return ExitCode.DONE


def _write_expected(expect: Path, text: str) -> None:
    try:
        expect.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--expect {expect} cannot be written ({error.strerror})") from error


def run_load_chitchat(
    to: Target, limit: int | None, shuffle: int | None, *, ratings: bool, as_json: bool
) -> ExitCode:
    """Publish the real conversations. Raises ``BrokersError`` and ``DataSetMissingError``."""
    tally = Tally()
    messages = _encoded(chitchat_messages(limit, ratings=ratings), tally)
    if shuffle is not None:
        kept = list(messages)
        random.Random(shuffle).shuffle(kept)  # noqa: S311 -- an order that can be repeated
        messages = iter(kept)
    asyncio.run(_deliver("loading", messages, to, tally=tally, as_json=as_json))
    return ExitCode.DONE


def _encoded(messages: Iterable[Message], tally: Tally) -> Iterator[Outgoing]:
    for message in messages:
        tally.add(message)
        yield encode_message(message)


async def _write_lines(messages: Iterable[Outgoing], rate: float | None) -> bool:
    """Write to standard output; return False where its reader has seen enough."""
    stream = sys.stdout.buffer
    try:
        await deliver(messages, LineSink(stream, flush_each=rate is not None), rate=rate)
        stream.flush()
    except BrokenPipeError:
        # Python flushes once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


async def _deliver(
    what: str,
    messages: Iterable[Outgoing],
    to: Target,
    *,
    tally: Tally,
    rate: float | None = None,
    as_json: bool,
) -> None:
    began = time.monotonic()
    with progress(what) as advance:
        async with open_sender(to, _warn) as sender:
            await deliver(messages, sender, rate=rate, advance=advance)
            await sender.drain()
    result = {"published": sender.acknowledged, **tally.end_state()}
    _show(result, began, as_json=as_json)


def _show(result: Mapping[str, object], began: float, *, as_json: bool) -> None:
    """Write the result with how long it took; ``published`` is a number of messages."""
    seconds = time.monotonic() - began
    published = result["published"]
    rate = round(published / seconds) if isinstance(published, int) else 0
    timing = {"seconds": round(seconds, 2), "messages_per_second": rate}
    show("Published", {**result, **timing}, as_json=as_json)
