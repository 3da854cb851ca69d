"""A flood of records that cannot be applied is held until a person has looked at it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest

from consumer.commands.status import show_status
from consumer.errors import ExitCode
from consumer.settings.sources import load_settings
from consumer.state.outcomes import Outcome
from tests.builders import event
from tests.e2e.environment import Environment, reasons_of
from tests.e2e.processes import Fleet

FLOOD = 150
GOOD = 40


async def held_by_status(
    environment: Environment,
    capsys: pytest.CaptureFixture[str],
    awaited: Callable[[dict[int, dict[str, Any]]], bool],
) -> tuple[ExitCode, dict[int, dict[str, Any]]]:
    """Ask for the status until it tells of the holds that are awaited, by their partitions."""
    settings = load_settings({name: str(value) for name, value in environment.settings.items()})
    while True:
        capsys.readouterr()
        code = await show_status(settings, watch=False, as_json=True)
        parts = json.loads(capsys.readouterr().out)["partitions"]
        held = {part["partition"]: part["held"] for part in parts if part["held"] is not None}
        if awaited(held):
            return code, held


@pytest.mark.real_kafka
async def test_a_flooded_partition_is_held_while_the_others_go_on_until_sigusr1_lets_it_pass(
    environment: Environment, fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [environment.record_of(event("s", f"e-{n}"))._replace(partition=1) for n in range(GOOD)]
    flood = [
        environment.record_of(event("s", f"f-{n}"))._replace(partition=0) for n in range(FLOOD)
    ]
    places = await environment.send(one._replace(value=b"[object Object]") for one in flood)
    service = await fleet.start(serves=True)
    held = await fleet.said(service, "partition_held", partition=f"{environment.events}-0")
    assert held["share"] == 1.0
    await environment.send(good)
    await fleet.until(lambda: service.settled == GOOD, "the other partition goes on")
    assert await environment.dead_letters() == []
    ready = json.loads(await service.get("/readyz"))
    assert list(ready["reasons"]) == [f"held:{environment.events}-0"]
    code, parts = await held_by_status(environment, capsys, lambda parts: parts != {})
    since = parts[0].pop("since")
    assert ready["reasons"][f"held:{environment.events}-0"].startswith(
        f"since {since} at offset 0: "
    )
    (reason,) = held["reasons"]
    assert (code, parts) == (ExitCode.FOUND, {0: {"offset": 0, "reasons": {reason: ANY}}})

    service.signal(signal.SIGUSR1)
    await fleet.until(lambda: service.settled == GOOD + FLOOD, "the flood passes")
    assert (await held_by_status(environment, capsys, lambda parts: parts == {}))[
        0
    ] is ExitCode.DONE
    assert await fleet.stopped(service) == ExitCode.DONE
    assert service.outcomes() == {Outcome.APPLIED: GOOD, Outcome.DEAD_LETTERED: FLOOD}
    letters = {position for position, _ in reasons_of(await environment.dead_letters())}
    assert letters == {position for position, _ in places}
    assert await environment.lag() == 0
