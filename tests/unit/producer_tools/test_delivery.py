"""Messages are handed over in order and not faster than wanted."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from producer_tools import delivery
from producer_tools.delivery import LineSink, deliver
from producer_tools.outgoing import Outgoing, Stream


def messages(count: int) -> Iterator[Outgoing]:
    return (Outgoing(Stream.EVENTS, b"k", b"%d" % number) for number in range(count))


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(delivery, "time", clock)
    monkeypatch.setattr(delivery, "asyncio", clock)
    return clock


async def test_lines_are_written_in_order() -> None:
    stream = io.BytesIO()
    assert await deliver(messages(3), LineSink(stream, flush_each=False)) == 3
    assert stream.getvalue() == b"0\n1\n2\n"


async def test_a_rate_spreads_the_messages_evenly(clock: Clock) -> None:
    stream = io.BytesIO()
    await deliver(messages(11), LineSink(stream, flush_each=True), rate=10)
    assert clock.slept == pytest.approx([0.1] * 10)


async def test_a_high_rate_is_kept_on_average_without_tiny_sleeps(clock: Clock) -> None:
    await deliver(messages(10_001), LineSink(io.BytesIO(), flush_each=False), rate=10_000)
    assert clock.now - 100.0 == pytest.approx(1.0, abs=0.006)
    assert len(clock.slept) < 250


async def test_without_a_rate_nothing_sleeps(clock: Clock) -> None:
    await deliver(messages(2000), LineSink(io.BytesIO(), flush_each=False))
    assert clock.slept == []


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("rate", [None, 10.0])
async def test_progress_adds_up_to_everything(rate: float | None) -> None:
    told: list[int] = []
    sink = LineSink(io.BytesIO(), flush_each=False)
    await deliver(messages(1234), sink, rate=rate, advance=told.append)
    assert sum(told) == 1234
