"""What was fetched of a partition is handed out bounded."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition as ClientPartition
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import ConsumerRecord

from consumer.contract.record import Record
from consumer.kafka import fetch_results
from consumer.kafka.fetch_results import (
    BoundedFetchResult,
    NamedPartitionRecords,
    RecordBatches,
    as_our_record,
    begin_fetch,
    bound_buffers,
)
from consumer.settings.model import KafkaSettings
from tests.memory import no_collector

P0 = ClientPartition("t", 0)
HEADER = b"h" * 100_000


class Assigned:
    """The client's assignment, as far as a fetch result asks for it."""

    def state_value(self, _: ClientPartition) -> Assigned:
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


class Result(BoundedFetchResult):
    def check_assignment(self, _: Any) -> bool:
        return True


def fetched(records: int, mark: Any = as_our_record) -> Result:
    """What a fetch brings of records that are small but for their headers."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**30,
    )
    for offset in range(records):
        builder.append(offset, 1, b"k", b"{}", [("trace", HEADER)])
    content = RecordBatches(bytes(builder.build()))
    parts = NamedPartitionRecords(P0, content, [], 0, mark, None, True, READ_COMMITTED)
    return Result(P0, assignment=Assigned(), partition_records=parts, backoff=0)


@pytest.mark.reliability("F70")
def test_headers_count_for_what_one_fetch_hands_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(BoundedFetchResult, "max_bytes", 10 * len(HEADER))
    begin_fetch()
    result = fetched(100)
    assert len(result.getall(2000)) == 10
    begin_fetch()
    assert result.getall(2000)[0].offset == 10, "what had no room comes next"


@pytest.mark.reliability("F110")
def test_a_fetch_that_cannot_be_decoded_is_freed_at_once() -> None:
    content = bytearray(fetched(1)._partition_records._records._content)
    content[-1] ^= 0xFF
    batches = RecordBatches(bytes(content))
    parts = NamedPartitionRecords(P0, batches, [], 0, as_our_record, None, True, READ_COMMITTED)
    result = Result(P0, assignment=Assigned(), partition_records=parts, backoff=0)
    kept = weakref.ref(batches)
    begin_fetch()
    with no_collector():
        del batches, parts
        assert result.getall(500) == []
        assert kept() is None


class Fetcher:
    """The client's fetcher, as far as what it asks for next; ``_records``: what it keeps."""

    def __init__(self) -> None:
        self._records: dict[ClientPartition, object] = {}
        self._fetch_max_bytes = 0

    def _get_actions_per_node(self, _: object) -> int:
        return self._fetch_max_bytes


@pytest.mark.reliability("F70")
def test_what_is_kept_of_all_partitions_counts_against_one_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr(fetch_results, "BEYOND_BOUND", 1_000)
    fetcher, size = Fetcher(), fetched(10).fetched_bytes
    assert size > 10 * len(HEADER)
    cluster = SimpleNamespace(brokers=lambda: {1, 2})
    bound_buffers(
        SimpleNamespace(_fetcher=fetcher, _client=SimpleNamespace(cluster=cluster)), 3 * size
    )
    asked = [fetcher._get_actions_per_node(None)]
    for number in range(4):
        fetcher._records[ClientPartition("t", number)] = fetched(10)
        asked.append(fetcher._get_actions_per_node(None))
    assert asked == [3 * size // 4, size // 2, size // 4, 1_000, 1_000]
    for kept in fetcher._records.values():
        assert isinstance(kept, Result)
        begin_fetch()
        kept.getall()
    assert fetcher._get_actions_per_node(None) == asked[0], "what was taken is kept no longer"


@pytest.mark.reliability("F110")
def test_a_reply_that_is_taken_apart_counts_twice() -> None:
    fetcher, most = Fetcher(), KafkaSettings().fetch_max_bytes
    cluster = SimpleNamespace(brokers=lambda: {1})
    bound_buffers(SimpleNamespace(_fetcher=fetcher, _client=SimpleNamespace(cluster=cluster)), most)
    kept = 0
    for number in range(12):
        reply = fetcher._get_actions_per_node(None)
        assert reply == fetch_results.BEYOND_BOUND or kept + 2 * reply <= most
        kept += reply
        fetcher._records[ClientPartition("t", number)] = Kept(reply)


class Kept(Result):
    """What is kept of a partition, as far as its weight."""

    def __init__(self, weight: int) -> None:
        self._weight = weight

    @property
    def fetched_bytes(self) -> int:
        return self._weight


@pytest.mark.reliability("F70")
@pytest.mark.parametrize(("partitions", "most_mib"), [(12, 50), (300, 125)])
def test_what_is_kept_of_many_full_partitions_is_bounded_at_defaults(
    partitions: int, most_mib: int
) -> None:
    kafka, fetcher = KafkaSettings(), Fetcher()
    cluster = SimpleNamespace(brokers=lambda: {1})
    bound_buffers(
        SimpleNamespace(_fetcher=fetcher, _client=SimpleNamespace(cluster=cluster)),
        kafka.fetch_max_bytes,
    )
    left = [ClientPartition("t", number) for number in range(partitions)]
    while left:  # nobody polls: a partition of which something is kept is not fetched
        room = fetcher._get_actions_per_node(None)
        while left and room > 0:
            part = min(room, kafka.max_partition_fetch_bytes)
            fetcher._records[left.pop()] = Kept(part)
            room -= part
    kept = sum(one.fetched_bytes for one in fetcher._records.values() if isinstance(one, Kept))
    assert kept <= most_mib * 1024 * 1024


@pytest.mark.parametrize(("mark", "kind"), [(None, ConsumerRecord), (as_our_record, Record)])
def test_a_consumer_that_is_not_marked_gets_the_clients_own_records(mark: Any, kind: type) -> None:
    begin_fetch()
    (record,) = fetched(1, mark).getall()
    assert type(record) is kind
