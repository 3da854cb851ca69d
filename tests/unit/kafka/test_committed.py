"""Where the records of a committed offset went, and whether that is here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import OffsetAndMetadata
from aiokafka import TopicPartition as ClientPartition

from consumer import wiring
from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.errors import PreconditionError
from consumer.kafka.admin import GroupDescription
from consumer.kafka.client import GroupClient
from consumer.kafka.committed import (
    MAX_LENGTH,
    AcceptedTarget,
    Committed,
    CommittedHold,
    OffsetMetadata,
)
from consumer.ports import Hold, StartOffset, Target
from consumer.settings.model import Settings
from tests.simulation.loop import in_virtual_time
from tests.unit.kafka.scripted_client import P0, P1, Setting

HERE, THERE = Target("c-000000000001", "a (s, e) at rs/x:1"), Target("c-2", "b (s, e) at rs/y:1")
BY_HOSTS = Target("s-3", "a (s, e) at x:1")
HOLD = Hold(
    10,
    0.875,
    {Reason.UNDECODABLE: 600, Reason.INVALID: 100},
    datetime(2026, 3, 4, 10, tzinfo=UTC),
)


def kept(target: Target | None, topic_id: str | None = None) -> Committed:
    return Committed(10, OffsetMetadata(topic_id, target).encode())


def test_what_is_committed_is_read_as_it_was_written() -> None:
    for details in (
        OffsetMetadata(),
        OffsetMetadata("id"),
        OffsetMetadata("id", HERE),
        OffsetMetadata(None, HERE),
    ):
        assert OffsetMetadata.decode(details.encode()) == details
        held = replace(details, held=CommittedHold.of(HOLD))
        assert OffsetMetadata.decode(held.encode()) == held
    assert OffsetMetadata().encode() == ""
    assert OffsetMetadata("id", Target("c-1", "a")).encode() == (
        '{"topicId":"id","target":{"key":"c-1","name":"a"}}'
    )


@pytest.mark.reliability("F57")
def test_a_hold_says_since_when_where_and_why_and_quotes_nothing() -> None:
    assert OffsetMetadata(held=CommittedHold.of(HOLD)).encode() == (
        '{"held":{"since":"2026-03-04T10:00:00.000Z","offset":10,'
        '"reasons":{"undecodable":600,"invalid":100}}}'
    )


@pytest.mark.reliability("F57")
def test_a_hold_that_brokers_would_not_take_is_cut_and_the_offset_is_committed() -> None:
    def long(name: int) -> OffsetMetadata:
        return OffsetMetadata("A" * 22, Target("c-1", "n" * name), CommittedHold.of(HOLD))

    without = len(long(0).encode())
    assert long(MAX_LENGTH - without).encode() == long(MAX_LENGTH - without)._encode()
    one_more = OffsetMetadata.decode(long(MAX_LENGTH - without + 1).encode())
    assert one_more.held == CommittedHold("2026-03-04T10:00:00.000Z", 10)
    assert len(one_more.encode()) <= MAX_LENGTH
    none = long(MAX_LENGTH - 80)
    assert none.encode() == replace(none, held=None).encode()
    every = CommittedHold.of(replace(HOLD, offset=2**63 - 1, reasons=dict.fromkeys(Reason, 10**9)))
    longest = Target("c-0123456789ab", "\N{GREEK SMALL LETTER ALPHA}" * 200)
    assert OffsetMetadata.decode(OffsetMetadata("A" * 22, longest, every).encode()).held == every


@pytest.mark.parametrize(
    "held",
    [
        "null",
        "true",
        "[]",
        "{}",
        '{"since": 1, "offset": 1}',
        '{"since": "x", "offset": "1"}',
    ],
)
@pytest.mark.reliability("F57")
def test_what_is_no_hold_of_ours_is_none(held: str) -> None:
    assert OffsetMetadata.decode(f'{{"held": {held}}}').held is None


@pytest.mark.reliability("F57")
def test_of_reasons_that_are_none_of_ours_the_counted_ones_are_taken() -> None:
    said = '{"held": {"since": "x", "offset": 1, "reasons": {"a": "b", "c": 2}}}'
    assert OffsetMetadata.decode(said).held == CommittedHold("x", 1, {"c": 2})


def test_a_longest_name_fits_into_what_brokers_take() -> None:
    long = Target("c-0123456789ab", "\N{GREEK SMALL LETTER ALPHA}" * 200)
    assert len(OffsetMetadata("A" * 22, long).encode()) < 4096


@pytest.mark.parametrize(
    "metadata",
    ["", "by hand", "null", "{}", '{"target": "x"}', '{"target": {"key": 1, "name": "x"}}'],
)
@pytest.mark.reliability("F53")
def test_what_another_program_has_committed_is_accepted(metadata: str) -> None:
    AcceptedTarget(HERE).check({P0: Committed(10, metadata)})


@pytest.mark.reliability("F53")
def test_another_target_is_refused_with_one_line_that_names_both() -> None:
    with pytest.raises(PreconditionError) as refused:
        AcceptedTarget(HERE).check({P1: kept(HERE), P0: kept(THERE)})
    said = str(refused.value)
    assert str(HERE) in said
    assert str(THERE) in said
    assert f"mongo.moved_from={THERE.key}" in said
    assert "\n" not in said


@pytest.mark.reliability("F53")
def test_a_wanted_move_is_accepted_from_the_named_place_only() -> None:
    AcceptedTarget(HERE, moved_from=THERE.key).check({P0: kept(THERE), P1: kept(HERE)})
    with pytest.raises(PreconditionError):
        AcceptedTarget(HERE, moved_from="c-9").check({P0: kept(THERE)})


@pytest.mark.reliability("F53")
def test_keys_that_rest_on_different_things_are_not_compared() -> None:
    AcceptedTarget(HERE).check({P0: kept(BY_HOSTS)})
    AcceptedTarget(BY_HOSTS).check({P0: kept(HERE)})


@in_virtual_time
@pytest.mark.reliability("F53")
async def test_an_assignment_whose_records_went_elsewhere_is_refused() -> None:
    setting = Setting(accepted=AcceptedTarget(HERE))
    client = await setting.assigned(P0, P1)
    client.offsets, client.metadata = {P0: 10, P1: 10}, {P1: kept(THERE).metadata}
    with pytest.raises(PreconditionError, match="stored in"):
        await setting.poll([P0, P1], 100, 0.1)


@in_virtual_time
@pytest.mark.reliability("F53")
async def test_after_a_move_even_offsets_that_stand_still_are_committed_again() -> None:
    setting = Setting(accepted=AcceptedTarget(HERE, moved_from=THERE.key))
    client = await setting.assigned(P0, P1)
    client.offsets = {P0: 10, P1: 10}
    client.metadata = {P0: kept(THERE).metadata, P1: kept(HERE).metadata}
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.starts == {P0: StartOffset(10, None), P1: StartOffset(10, 10)}
    assert await setting.source.committed([P0, P1]) == {P0: None, P1: 10}
    await setting.source.commit({P0: 10})
    assert OffsetMetadata.decode(client.metadata[P0]).target == HERE


@in_virtual_time
@pytest.mark.reliability("F57")
async def test_a_hold_is_committed_beside_its_offset_and_taken_back_by_a_commit_without() -> None:
    setting = Setting(accepted=AcceptedTarget(HERE))
    client = await setting.assigned(P0, P1)
    client.offsets = {P0: 10, P1: 10}
    await setting.poll([P0, P1], 100, 0.1)
    await setting.source.commit({P0: 10, P1: 10}, {P0: HOLD})
    before = client.metadata[P1]
    assert OffsetMetadata.decode(client.metadata[P0]).held == CommittedHold.of(HOLD)
    assert OffsetMetadata.decode(before).held is None
    await setting.source.commit({P0: 10})
    assert client.metadata[P0] == before


@in_virtual_time
@pytest.mark.reliability("F57")
async def test_a_hold_ends_with_its_assignment_and_the_next_start_says_that_it_is_kept() -> None:
    setting = Setting()
    client = await setting.assigned(P0, P1)
    client.offsets = {P0: 0, P1: 10}
    client.metadata = {P0: OffsetMetadata(held=CommittedHold.of(HOLD)).encode()}
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.starts == {P0: StartOffset(0, 0, held=True), P1: StartOffset(10, 10)}


@in_virtual_time
@pytest.mark.reliability("F53")
async def test_an_offset_beside_which_null_was_committed_says_nothing_of_itself() -> None:
    class Coordinator:
        async def fetch_committed_offsets(
            self, targets: Collection[ClientPartition]
        ) -> dict[ClientPartition, OffsetAndMetadata]:
            return dict.fromkeys(targets, OffsetAndMetadata(10, None))

    consumer: Any = SimpleNamespace(
        _client=SimpleNamespace(send=None),
        _coordinator=Coordinator(),
        _fetcher=SimpleNamespace(_set_error=None),
        _group_instance_id=None,
    )
    assert await GroupClient(consumer).committed([P0]) == {P0: Committed(10)}


@pytest.mark.reliability("F53")
async def test_what_another_instance_is_just_making_is_asked_for_behind_what_it_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings()
    partition = TopicPartition(settings.kafka.topics[0], 0)
    committed: dict[TopicPartition, Committed] = {}

    class Admin:
        async def describe_group(self, _: str) -> GroupDescription:
            return GroupDescription("Stable", "range", (), dict(committed))

    @asynccontextmanager
    async def open_admin(_: object) -> AsyncIterator[Admin]:
        yield Admin()

    async def ask_target() -> Target:
        committed[partition] = kept(HERE)  # by the other one, as soon as it has made them
        return THERE

    monkeypatch.setattr(wiring, "open_admin", open_admin)
    assert (await wiring.describe_own_group(settings, ask_target)).committed == {}
    with pytest.raises(PreconditionError, match=r"mongo\.moved_from=c-000000000001"):
        await wiring.describe_own_group(settings, ask_target)
