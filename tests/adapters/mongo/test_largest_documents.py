"""What is planned as storable is stored, up to the last byte."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumer.contract.kinds import SESSIONS
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import MAX_CREATE_BYTES, MAX_END_BYTES, MAX_EVENT_BYTES, Write
from tests.unit.state.builders import created, event, failed, write

from .applying import found_by, outcomes
from .conftest import Server

SESSION_ID = "\U0001f600" * 256

SPARE_EVENT = MAX_EVENT_BYTES - len(write(event(payload={"t": ""})).content.raw)
SPARE_CREATE = MAX_CREATE_BYTES - len(write(created(metadata={"t": ""})).content.raw)
SPARE_END = MAX_END_BYTES - len(write(failed(reason="")).content.raw)


async def test_the_largest_event_is_stored_and_found_again(prepared: Server) -> None:
    store = MongoStore(prepared.collections())
    largest = write(event(payload={"t": "x" * SPARE_EVENT}))
    assert await outcomes(store, largest) == [Outcome.APPLIED]
    assert await outcomes(store, largest) == [Outcome.REDELIVERED]


async def test_what_no_one_command_can_carry_is_sent_in_several(prepared: Server) -> None:
    large = "x" * 6_000_000
    batch: list[Write] = [write(event("s", f"e{n}", {"t": large}), n) for n in range(3)]
    batch += [write(created(f"s{n}", metadata={"t": large}), 4 + n) for n in range(3)]
    store = MongoStore(prepared.collections())
    assert await outcomes(store, *batch) == [Outcome.APPLIED] * 6
    store.forget()
    assert await outcomes(store, *batch) == [Outcome.REDELIVERED] * 6


@pytest.mark.parametrize("end_first", [True, False])
async def test_the_largest_creation_and_end_are_stored_in_either_order(
    prepared: Server, end_first: bool
) -> None:
    both: Sequence[Write] = [
        write(created(SESSION_ID, metadata={"t": "x" * SPARE_CREATE}), 0),
        write(failed(SESSION_ID, reason="x" * SPARE_END), 1),
    ]
    for one in reversed(both) if end_first else both:
        assert await outcomes(MongoStore(prepared.collections()), one) == [Outcome.APPLIED]
    (stored,) = await found_by(prepared.collections().find(SESSIONS, [SESSION_ID]))
    assert len(stored["metadata"]["t"]) == SPARE_CREATE
    assert len(stored["reason"]) == SPARE_END
