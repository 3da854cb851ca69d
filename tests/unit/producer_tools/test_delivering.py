"""Messages are handed over in order, and at a rate where one is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from consumer.terminal import Advance
from producer_tools.outgoing_message import Outgoing, Stream
from producer_tools.producer_runs import deliver


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
def clock() -> Clock:
    return Clock()


async def delivered(
    count: int,
    send: Callable[[Outgoing], Awaitable[None]],
    rate: float | None,
    clock: Clock,
    advance: Advance = lambda _: None,
) -> None:
    await deliver(
        messages(count),
        send,
        rate=rate,
        advance=advance,
        clock=clock.monotonic,
        sleep=clock.sleep,
    )


async def ignore(_: Outgoing) -> None:
    """Take a message."""


async def test_messages_are_sent_in_order() -> None:
    sent: list[bytes] = []

    async def send(outgoing: Outgoing) -> None:
        sent.append(outgoing.value)

    await deliver(messages(3), send)
    assert sent == [b"0", b"1", b"2"]


async def test_a_rate_spreads_the_messages_evenly(clock: Clock) -> None:
    await delivered(11, ignore, 10, clock)
    assert clock.slept == pytest.approx([0.1] * 10)


@pytest.mark.reliability("F86")
async def test_after_a_stall_of_the_brokers_the_messages_come_no_faster_than_the_rate(
    clock: Clock,
) -> None:
    times: list[float] = []

    class Stalling:
        async def send(self, _: Outgoing) -> None:
            times.append(clock.now)
            if len(times) == 100:
                clock.now += 5.0

    await delivered(300, Stalling().send, 100, clock)
    stalled_until = times[100]
    assert stalled_until - times[99] == pytest.approx(5.0)
    assert sum(1 for time in times[100:] if time < stalled_until + 1) <= 111


async def test_a_high_rate_is_kept_on_average_without_tiny_sleeps(clock: Clock) -> None:
    await delivered(10_001, ignore, 10_000, clock)
    assert clock.now - 100.0 == pytest.approx(1.0, abs=0.006)
    assert len(clock.slept) < 250


async def test_without_a_rate_nothing_sleeps(clock: Clock) -> None:
    await delivered(2000, ignore, None, clock)
    assert clock.slept == []


@pytest.mark.parametrize("rate", [None, 10.0])
async def test_progress_adds_up_to_everything(rate: float | None, clock: Clock) -> None:
    told: list[int] = []
    await delivered(1234, ignore, rate, clock, told.append)
    assert sum(told) == 1234


async def test_a_delivery_that_never_waits_can_be_interrupted() -> None:
    told: list[int] = []
    delivery = asyncio.create_task(deliver(messages(10_000), ignore, advance=told.append))
    asyncio.get_running_loop().call_soon(delivery.cancel)
    with pytest.raises(asyncio.CancelledError):
        await delivery
    assert sum(told) < 10_000
