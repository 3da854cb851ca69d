"""Keeping to a rate."""

from __future__ import annotations

import pytest

from producer_tools.pacing import Pacer


class Clock:
    """Time that passes only where somebody sleeps, or by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("rate", "turns", "seconds"), [(10, 101, 10.0), (1000, 5001, 5.0)])
async def test_turns_come_at_the_rate(rate: float, turns: int, seconds: float) -> None:
    clock = Clock()
    pacer = Pacer(rate, clock=clock, sleep=clock.sleep)
    for _ in range(turns):
        await pacer.turn()
    assert clock.now == pytest.approx(seconds, abs=0.01)


async def test_a_turn_that_took_long_is_made_up_for() -> None:
    clock = Clock()
    pacer = Pacer(100, clock=clock, sleep=clock.sleep)
    for turn in range(1001):
        await pacer.turn()
        if turn % 100 == 0:
            clock.now += 0.09
    assert clock.now == pytest.approx(10.0, abs=0.1)


@pytest.mark.reliability("F86")
async def test_after_a_stall_the_turns_come_no_faster_than_the_rate() -> None:
    clock = Clock()
    pacer = Pacer(100, clock=clock, sleep=clock.sleep)
    await pacer.turn()
    clock.now = 5.0
    times = []
    for _ in range(200):
        await pacer.turn()
        times.append(clock.now)
    assert sum(1 for time in times if time < 5.1) <= 21
    assert sum(1 for time in times if time < 6.0) <= 111


async def test_without_a_rate_nobody_waits() -> None:
    clock = Clock()
    pacer = Pacer(None, clock=clock, sleep=clock.sleep)
    for _ in range(1000):
        assert pacer.pause() == 0
        await pacer.turn()
    assert clock.now == 0
