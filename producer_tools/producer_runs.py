"""What the commands do: open the brokers, show progress, write the result."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from consumer.aio import RateLimiter
from consumer.errors import ConsumerError, ExitCode
from consumer.signals import run_interruptible
from consumer.terminal import (
    Advance,
    open_result_file,
    output_errors,
    print_error,
    print_results,
    progress,
)
from producer_tools.chitchat import chitchat_messages
from producer_tools.conversations import Message
from producer_tools.generate import GenerationPlan, generate_messages
from producer_tools.message_lines import MessageLines
from producer_tools.outgoing_message import (
    EndState,
    Outgoing,
    Stream,
    encode_message,
)
from producer_tools.publisher import Publisher

_PROGRESS_EVERY: Final = 500


def warn(text: str) -> None:
    """Say on standard error what is not as it was asked for."""
    print_error(f"producer-tools: {text}")


async def publish_lines(
    name: str, descriptor: int, publisher: Publisher, *, skip_invalid: bool, as_json: bool
) -> ExitCode:
    """Publish what a file or pipe holds that is called ``name``.

    Raises ``BrokersError``, and ``SettingsError`` where it cannot be read.
    """
    lines = MessageLines(name, descriptor, publisher.limit)
    with _reported(publisher, as_json=as_json) as result:
        await _check_and_publish(lines, publisher, skip_invalid=skip_invalid)
        result["rejected"] = lines.rejected
    return ExitCode.FOUND if lines.rejected else ExitCode.DONE


@contextmanager
def _reported(publisher: Publisher, *, as_json: bool) -> Iterator[dict[str, object]]:
    """Write at the end how much was published, how fast, and what the body adds to that.

    Where it is interrupted, or the brokers stop it, say what had been done by then.
    """
    began, further = time.monotonic(), dict[str, object]()
    try:
        yield further
    except (asyncio.CancelledError, ConsumerError) as error:
        acknowledged, unconfirmed = publisher.acknowledged, publisher.unconfirmed
        interrupted = isinstance(error, asyncio.CancelledError)
        if interrupted or acknowledged or unconfirmed:
            also = f"; {unconfirmed:,} more were sent and may be there" if unconfirmed else ""
            before = "interrupted; " if interrupted else ""
            warn(f"{before}{acknowledged:,} messages were acknowledged by the brokers{also}")
        raise
    published, seconds = publisher.acknowledged, time.monotonic() - began
    timing = {"seconds": round(seconds, 2), "messages_per_second": round(published / seconds)}
    print_results({"published": published, **further, **timing}, as_json=as_json)


async def _check_and_publish(
    lines: MessageLines, publisher: Publisher, *, skip_invalid: bool
) -> None:
    """Publish every good line; of a file that can be read twice none where one is wrong.

    Without ``skip_invalid`` a pipe is published up to its first wrong line.
    """
    status = os.fstat(lines.descriptor)
    size: int | None = None
    if is_file := stat.S_ISREG(status.st_mode):
        # Standard input may be a file that another has read in part: its rest is the input.
        size = status.st_size - os.lseek(lines.descriptor, 0, os.SEEK_CUR)
    check, limits = is_file and not skip_invalid, [publisher.limit(stream) for stream in Stream]
    if check and await _has_wrong_lines(lines, size):
        return
    stopped_at: int | None = None
    async with publisher:
        topics_take_less = limits != [publisher.limit(stream) for stream in Stream]
        if check and topics_take_less and await _has_wrong_lines(lines, size):
            return
        with progress("publishing", size) as advance:
            async for number, message in lines.messages(advance):
                if message is not None:
                    await publisher.send_unchecked(message)
                elif not skip_invalid:
                    stopped_at = number
                    break
    if not lines.read:
        warn(f"{lines.name} holds no message")
    if stopped_at is not None:
        warn(f"stopped at line {stopped_at}; --skip-invalid goes on behind wrong lines")


async def _has_wrong_lines(lines: MessageLines, size: int | None) -> bool:
    """Check a file from where it stands, and go back there."""
    start = os.lseek(lines.descriptor, 0, os.SEEK_CUR)
    with progress("checking", size) as advance:
        async for _ in lines.messages(advance):
            pass
    os.lseek(lines.descriptor, start, os.SEEK_SET)
    if lines.rejected:
        warn("nothing was published; --skip-invalid publishes the good lines")
    return lines.rejected > 0


def run_generate(
    plan: GenerationPlan,
    publisher: Publisher | None,
    *,
    rate: float | None,
    expect: Path | None,
    as_json: bool,
) -> ExitCode:
    """Generate to the brokers, or to standard output where there is no ``publisher``.

    Raises ``BrokersError``, and ``SettingsError`` where ``expect`` cannot be written.
    """
    state = EndState()
    messages = generate_messages(plan, state)
    with nullcontext() if expect is None else open_result_file("--expect", expect) as write:
        if publisher is None:
            run_interruptible(_write_lines(messages, rate))
        else:
            run_interruptible(
                _deliver("generating", messages, publisher, state, rate=rate, as_json=as_json)
            )
        summary = json.dumps(state.summary())
        if write is None:
            print_error(summary)
        else:
            write([summary + "\n"])
    return ExitCode.DONE


async def load_chitchat(publisher: Publisher, limit: int | None, *, as_json: bool) -> ExitCode:
    """Publish the real conversations. Raises ``BrokersError`` and ``DataSetMissingError``."""
    state = EndState()
    messages = _encoded(chitchat_messages(limit), state)
    await _deliver("loading", messages, publisher, state, as_json=as_json)
    return ExitCode.DONE


def _encoded(messages: Iterable[Message], state: EndState) -> Iterator[Outgoing]:
    for message in messages:
        state.add(message)
        yield encode_message(message)


async def _write_lines(messages: Iterable[Outgoing], rate: float | None) -> None:
    """Write to standard output. Raises ``OutputError`` and ``OutputClosedError``."""
    stream, written = sys.stdout.buffer, 0

    async def write_line(outgoing: Outgoing) -> None:
        nonlocal written
        stream.write(outgoing.value + b"\n")
        written += 1
        if rate is not None:  # whoever reads sees each line at once
            stream.flush()

    try:
        with output_errors():
            await deliver(messages, write_line, rate=rate)
            stream.flush()
    except asyncio.CancelledError:
        warn(f"interrupted; {written:,} lines were written")
        raise


async def _deliver(
    what: str,
    messages: Iterable[Outgoing],
    publisher: Publisher,
    state: EndState,
    *,
    rate: float | None = None,
    as_json: bool,
) -> None:
    with _reported(publisher, as_json=as_json) as result:
        with progress(what) as advance:
            async with publisher:
                await deliver(messages, publisher.send_unchecked, rate=rate, advance=advance)
        result.update(state.summary())


async def deliver(
    messages: Iterable[Outgoing],
    send: Callable[[Outgoing], Awaitable[None]],
    *,
    rate: float | None = None,
    advance: Advance = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Send everything, at most ``rate`` messages a second.

    ``advance`` is told every now and then how many more have been handed over. ``clock`` tells
    seconds, and ``sleep`` waits so many.
    """
    untold, limiter = 0, RateLimiter(rate)
    for outgoing in messages:
        delay = limiter.delay(clock())
        if delay > 0 or untold >= _PROGRESS_EVERY:
            advance(untold)
            untold = 0
            await asyncio.sleep(0)  # a signal is heard where nothing else waits
        if delay > 0:
            await sleep(delay)
        limiter.take(1, clock())
        await send(outgoing)
        untold += 1
    advance(untold)
