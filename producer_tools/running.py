"""What the commands do: open the brokers, show progress, write the result."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from consumer.errors import ConsumerError, ExitCode, SettingsError
from consumer.settings import load_settings
from consumer.signals import run_interruptible
from consumer.terminal import complain, progress, show, written
from producer_tools.checking import Problem
from producer_tools.chitchat import chitchat_messages
from producer_tools.conversations import Message
from producer_tools.delivery import LineSink, deliver
from producer_tools.end_state import Tally
from producer_tools.generate import Plan, generate
from producer_tools.lines import Line
from producer_tools.outgoing import Outgoing, Topics, encode_message
from producer_tools.publishing import Publication, check_all, publish, rereadable
from producer_tools.sender import Sender, open_sender
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
        if sys.stdin is None:
            raise SettingsError("standard input is closed; give a file, or something to read")
        return run_interruptible(
            _publish("<stdin>", 0, to, skip_invalid=skip_invalid, as_json=as_json)
        )
    with file.open("rb", buffering=0) as opened:
        descriptor = opened.fileno()
        return run_interruptible(
            _publish(str(file), descriptor, to, skip_invalid=skip_invalid, as_json=as_json)
        )


async def _publish(
    name: str, descriptor: int, to: Target, *, skip_invalid: bool, as_json: bool
) -> ExitCode:
    def report(line: Line, problem: Problem) -> None:
        complain(f"{name}:{line.number}: {problem.reason}: {problem.detail}")

    publication = Publication(name, descriptor, to, skip_invalid, report, _warn)
    counts, began = publication.counts, time.monotonic()
    with _told_how_far(lambda: (counts.acknowledged, counts.unanswered)):
        await _check_and_publish(publication)
    result = {"published": counts.acknowledged, "rejected": counts.rejected}
    _show(result, began, as_json=as_json)
    return ExitCode.FOUND if counts.rejected else ExitCode.DONE


@contextmanager
def _told_how_far(counts: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """Where the body is interrupted, or the brokers stop it, say what had been done by then.

    ``counts`` returns how many messages were acknowledged, and how many were sent without.
    """
    try:
        yield
    except (asyncio.CancelledError, ConsumerError) as error:
        acknowledged, unanswered = counts()
        interrupted = isinstance(error, asyncio.CancelledError)
        if interrupted or acknowledged or unanswered:
            also = f"; {unanswered:,} more were sent and may be there" if unanswered else ""
            before = "interrupted; " if interrupted else ""
            _warn(f"{before}{acknowledged:,} messages were acknowledged by the brokers{also}")
        raise


async def _check_and_publish(publication: Publication) -> None:
    descriptor, skip_invalid = publication.descriptor, publication.skip_invalid
    # Standard input may be a file that another has read in part: its rest is the input.
    start = os.lseek(descriptor, 0, os.SEEK_CUR) if rereadable(descriptor) else 0
    size = os.fstat(descriptor).st_size - start if rereadable(descriptor) else None
    if size is not None and not skip_invalid:
        with progress("checking", size) as advance:
            good = await check_all(publication, advance)
        if not good:
            _warn("nothing was published; --skip-invalid publishes the good lines")
            return
        os.lseek(descriptor, start, os.SEEK_SET)
    with progress("publishing", size) as advance:
        await publish(publication, advance)
    if not publication.counts.checked:
        _warn(f"{publication.name} holds no message")
    if (line := publication.counts.stopped_at) is not None:
        _warn(f"stopped at line {line}; --skip-invalid goes on behind wrong lines")


def run_generate(
    plan: Plan, to: Target | None, *, rate: float | None, expect: Path | None, as_json: bool
) -> ExitCode:
    """Generate to the brokers, or to standard output where there is no ``to``.

    Raises ``BrokersError``, and ``SettingsError`` where ``expect`` cannot be written.
    """
    tally = Tally()
    messages = generate(plan, tally)
    with _expected(expect) as expected:
        if to is None:
            run_interruptible(_write_lines(messages, rate))
        else:
            run_interruptible(
                _deliver("generating", messages, to, tally=tally, rate=rate, as_json=as_json)
            )
        expected.append(json.dumps(tally.end_state()))
    return ExitCode.DONE


@contextmanager
def _expected(expect: Path | None) -> Iterator[list[str]]:
    """Write the lines that the body appends, as a whole at its end, or nothing where it raises.

    That the file can be written is found out before the body has sent anything.
    """
    lines: list[str] = []
    if expect is None:
        yield lines
        for line in lines:
            complain(line)
        return
    target = expect.resolve()  # what a link leads to is replaced, not the link
    if target.exists() and not target.is_file():
        yield lines  # a pipe or a device has no old content to keep
        with _writing(expect):
            target.write_text(_text(lines), encoding="utf-8")
        return
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _writing(expect), draft.open("x"):
            if target.exists():
                shutil.copymode(target, draft)
        yield lines
        with _writing(expect):
            draft.write_text(_text(lines), encoding="utf-8")
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def _writing(expect: Path) -> Iterator[None]:
    try:
        yield
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
    run_interruptible(_deliver("loading", messages, to, tally=tally, as_json=as_json))
    return ExitCode.DONE


def _encoded(messages: Iterable[Message], tally: Tally) -> Iterator[Outgoing]:
    for message in messages:
        tally.add(message)
        yield encode_message(message)


async def _write_lines(messages: Iterable[Outgoing], rate: float | None) -> None:
    """Write to standard output. Raises ``OutputError`` and ``OutputClosedError``."""
    sink = LineSink(sys.stdout.buffer, flush_each=rate is not None)
    try:
        with written():
            await deliver(messages, sink, rate=rate)
            sys.stdout.buffer.flush()
    except asyncio.CancelledError:
        _warn(f"interrupted; {sink.written:,} lines were written")
        raise


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
    sender: Sender | None = None
    with (
        _told_how_far(lambda: (sender.acknowledged, sender.unanswered) if sender else (0, 0)),
        progress(what) as advance,
    ):
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
