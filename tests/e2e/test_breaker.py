"""A flood of records that cannot be applied is held until a person has looked at it."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest

from consumer.errors import ExitCode
from consumer.state.outcomes import Outcome
from tests.builders import event
from tests.e2e.processes import Fleet
from tests.e2e.sites import Site, reasons_of

FLOOD = 150
GOOD = 40


@pytest.mark.real_kafka
async def test_a_flooded_partition_is_held_while_the_others_go_on_until_sigusr1_lets_it_pass(
    site: Site, fleet: Fleet
) -> None:
    good = [replace(site.record_of(event("s", f"e-{n}")), partition=1) for n in range(GOOD)]
    flood = [replace(site.record_of(event("s", f"f-{n}")), partition=0) for n in range(FLOOD)]
    places = await site.send(replace(one, value=b"[object Object]") for one in flood)
    service = await fleet.start(serves=True)
    held = await fleet.said(service, "partition_held", partition=f"{site.events}-0")
    assert held["share"] == 1.0
    await site.send(good)
    await fleet.until(lambda: service.settled == GOOD, "the other partition goes on")
    assert await site.dead_letters() == []
    ready = json.loads(await service.get("/readyz"))
    assert list(ready["reasons"]) == [f"held:{site.events}-0"]

    service.signal(signal.SIGUSR1)
    await fleet.until(lambda: service.settled == GOOD + FLOOD, "the flood passes")
    assert await fleet.stopped(service) == ExitCode.DONE
    assert service.outcomes() == {Outcome.APPLIED: GOOD, Outcome.DEAD_LETTERED: FLOOD}
    letters = {position for position, _ in reasons_of(await site.dead_letters())}
    assert letters == {position for position, _ in places}
    assert await site.lag() == 0
