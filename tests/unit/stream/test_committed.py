"""Where the records of a committed offset went, and whether that is here."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import OffsetAndMetadata
from aiokafka import TopicPartition as ClientPartition

from consumer.errors import PreconditionError
from consumer.ports import Start, Target
from consumer.stream.client import AiokafkaClient
from consumer.stream.committed import AcceptedTarget, Belonging, Committed
from tests.simulation.loop import in_virtual_time
from tests.unit.stream.scripted_client import P0, P1, Setting

HERE, THERE = Target("c-000000000001", "a (s, e) at rs/x:1"), Target("c-2", "b (s, e) at rs/y:1")
BY_HOSTS = Target("s-3", "a (s, e) at x:1")


def kept(target: Target | None, topic_id: str | None = None) -> Committed:
    return Committed(10, Belonging(topic_id, target).encoded())


def test_what_is_committed_is_read_as_it_was_written() -> None:
    for belonging in (Belonging(), Belonging("id"), Belonging("id", HERE), Belonging(None, HERE)):
        assert Belonging.decoded(belonging.encoded()) == belonging
    assert Belonging().encoded() == ""


def test_a_longest_name_fits_into_what_brokers_take() -> None:
    long = Target("c-0123456789ab", "\N{GREEK SMALL LETTER ALPHA}" * 200)
    assert len(Belonging("A" * 22, long).encoded()) < 4096


@pytest.mark.parametrize(
    "metadata",
    ["", "by hand", "null", "{}", '{"target": "x"}', '{"target": {"key": 1, "name": "x"}}'],
)
def test_f53_what_another_program_has_committed_is_accepted(metadata: str) -> None:
    AcceptedTarget(HERE).check({P0: Committed(10, metadata)})


def test_f53_another_target_is_refused_with_one_line_that_names_both() -> None:
    with pytest.raises(PreconditionError) as refused:
        AcceptedTarget(HERE).check({P1: kept(HERE), P0: kept(THERE)})
    said = str(refused.value)
    assert str(HERE) in said
    assert str(THERE) in said
    assert f"mongo.moved_from={THERE.key}" in said
    assert "\n" not in said


def test_f53_a_wanted_move_is_accepted_from_the_named_place_only() -> None:
    AcceptedTarget(HERE, moved_from=THERE.key).check({P0: kept(THERE), P1: kept(HERE)})
    with pytest.raises(PreconditionError):
        AcceptedTarget(HERE, moved_from="c-9").check({P0: kept(THERE)})


def test_f53_keys_that_rest_on_different_things_are_not_compared() -> None:
    AcceptedTarget(HERE).check({P0: kept(BY_HOSTS)})
    AcceptedTarget(BY_HOSTS).check({P0: kept(HERE)})


@in_virtual_time
async def test_f53_an_assignment_whose_records_went_elsewhere_is_refused() -> None:
    setting = Setting(accepted=AcceptedTarget(HERE))
    client = await setting.assigned(P0, P1)
    client.offsets, client.metadata = {P0: 10, P1: 10}, {P1: kept(THERE).metadata}
    with pytest.raises(PreconditionError, match="stored in"):
        await setting.source.poll([P0, P1], 100, 0.1)


@in_virtual_time
async def test_f53_after_a_move_even_offsets_that_stand_still_are_committed_again() -> None:
    setting = Setting(accepted=AcceptedTarget(HERE, moved_from=THERE.key))
    client = await setting.assigned(P0, P1)
    client.offsets = {P0: 10, P1: 10}
    client.metadata = {P0: kept(THERE).metadata, P1: kept(HERE).metadata}
    polled = await setting.source.poll([P0, P1], 100, 0.1)
    assert polled.starts == {P0: Start(10, None), P1: Start(10, 10)}
    assert await setting.source.committed([P0, P1]) == {P0: None, P1: 10}
    await setting.source.commit({P0: 10})
    assert Belonging.decoded(client.metadata[P0]).target == HERE


@in_virtual_time
async def test_f53_an_offset_beside_which_null_was_committed_says_nothing_of_itself() -> None:
    class Coordinator:
        async def fetch_committed_offsets(
            self, targets: Collection[ClientPartition]
        ) -> dict[ClientPartition, OffsetAndMetadata]:
            return dict.fromkeys(targets, OffsetAndMetadata(10, None))

    consumer: Any = SimpleNamespace(_client=SimpleNamespace(send=None), _coordinator=Coordinator())
    assert await AiokafkaClient(consumer).committed([P0]) == {P0: Committed(10)}
