"""The Kafka client, reduced to what the source needs, with its traps defused.

Everything here that touches a private name of aiokafka is tied to the pinned
version (0.14) and covered by tests/faults/kafka; each use says which defect
it fixes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka import TopicPartition as ClientPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.aio import stop_quietly
from consumer.contract.record import Offsets, Partitions, Record, Records, TopicPartition
from consumer.errors import TransientError, UndecodableError
from consumer.kafka import client_patches, fetch_results
from consumer.kafka.committed import Committed
from consumer.kafka.connection import connection_options, transient_errors
from consumer.kafka.decompression import limit_decompression
from consumer.kafka.static_membership import StaticMembership
from consumer.kafka.topic_ids import TopicIds, topic_ids
from consumer.settings.model import KafkaSettings

UNASSIGNED = ClientPartition("", -1)
"""Polling a partition that is never assigned proves liveness and drains nothing."""

UNREACHABLE_AFTER = 3.0
"""Seconds without an answer after which it is said: a leader that moves takes less."""

GIVE_UP_WAIT = 1.0
"""Seconds that a client which never worked has to disconnect."""


class ClientLostError(TransientError):
    """The client will not recover by itself: close it and open another."""


class MembershipError(TransientError):
    """The group refuses or fails this member; no partition is to blame."""


class PartitionsError(TransientError):
    """Some partitions cannot be read, and which ones is known. No record was lost by it."""

    def __init__(self, failed: Mapping[TopicPartition, TransientError]) -> None:
        """Name each with its trouble."""
        first = next(iter(failed.values()))
        said = (f"{partition.name}: {error}" for partition, error in failed.items())
        super().__init__(first.cause, "; ".join(said))
        self.failed = failed


class RebalanceCallbacks(NamedTuple):
    """What the client calls, inside its own coordination task, when partitions go and come."""

    on_revoked: Callable[[], Awaitable[None]]
    on_assigned: Callable[[Partitions], Awaitable[None]]


def consumer_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the options of every client that reads, with a group or without."""
    return connection_options(kafka) | {
        # The client's own commits count what was handed out, not what was written.
        "enable_auto_commit": False,
        # Never "latest": a lost commit would become lost records. Where retention has overtaken a
        # reader it goes on at what is left, and the hole shows.
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "max_partition_fetch_bytes": kafka.max_partition_fetch_bytes,
        "fetch_max_bytes": kafka.fetch_max_bytes,
        "check_crcs": True,
        "key_deserializer": fetch_results.as_our_record,
    }


def _member_options(kafka: KafkaSettings) -> dict[str, Any]:
    return consumer_options(kafka) | {
        "group_id": kafka.group_id,
        "group_instance_id": kafka.group_instance_id,
        "client_rack": kafka.client_rack,
        # The only assignor that keeps a session's partitions of all topics on one member.
        "partition_assignment_strategy": [RangePartitionAssignor],
        "session_timeout_ms": int(kafka.session_timeout * 1000),
        "heartbeat_interval_ms": int(kafka.heartbeat_interval * 1000),
        "rebalance_timeout_ms": int(kafka.rebalance_timeout * 1000),
        "metadata_max_age_ms": int(kafka.metadata_max_age * 1000),
        "max_poll_interval_ms": int(kafka.max_poll_interval * 1000),
    }


def within_bytes(
    fetched: Mapping[TopicPartition, Iterable[Record]], most: int
) -> tuple[dict[TopicPartition, list[Record]], Offsets]:
    """Return records of at most ``most`` bytes in all, one at least, and where the rest begins."""
    taken: dict[TopicPartition, list[Record]] = {}
    rest: dict[TopicPartition, int] = {}
    for partition, records in fetched.items():
        for record in records:
            size = record.size
            if size > most and taken:
                rest[partition] = record.offset
                break
            most -= size
            taken.setdefault(partition, []).append(record)
    return taken, rest


class GroupClient:
    """A member of a consumer group, over aiokafka."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Wrap a started and subscribed consumer; use ``open_group_client``."""
        self._consumer = consumer
        self._fetch_errors = client_patches.FetchErrors(consumer)
        self._static = StaticMembership(consumer)
        self._ids_told_by: int | None = None

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Fetch from ``offset`` next; no effect on a partition that is not assigned.

        A partition is not fetched at all before it has been sought.
        """
        target = ClientPartition(*partition)
        if target in self._consumer.assignment():
            self._consumer.seek(target, offset)
            self._consumer.resume(target)

    def position(self, partition: TopicPartition) -> int | None:
        """The offset the client would fetch next, None where it has none.

        Read without waiting, which the public method cannot do.
        """
        target = ClientPartition(*partition)
        if target not in self._consumer.assignment():
            return None
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 -- see docstring
        state = subscription.assignment.state_value(target)
        return int(state.position) if state.has_valid_position else None

    def highwater(self, partition: TopicPartition) -> int | None:
        """The end of the partition as of the last fetch, None before it."""
        return self._last_told(self._consumer.highwater, partition)

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        """Where the oldest open transaction begins as of the last fetch; else the end."""
        return self._last_told(self._consumer.last_stable_offset, partition)

    def _last_told(
        self, ask: Callable[[ClientPartition], int | None], partition: TopicPartition
    ) -> int | None:
        target = ClientPartition(*partition)
        value = ask(target) if target in self._consumer.assignment() else None
        return None if value is None or value < 0 else int(value)

    def unreachable(self) -> Mapping[TopicPartition, str]:
        """The partitions whose leaders do not answer, and since long, with the error's name."""
        self._fetch_errors.keep(self._consumer.assignment())
        unanswered = self._fetch_errors.unanswered(UNREACHABLE_AFTER)
        return {TopicPartition(*target): cause for target, cause in unanswered.items()}

    async def fetch(self, partitions: Partitions, max_records: int, timeout: float) -> Records:
        """Take what was fetched for ``partitions`` (none: only prove liveness).

        An empty sequence: the partition could not be read before, and now can. Raises
        ``ClientLostError``, ``FencedError``; ``PartitionsError`` where it is known which cannot be
        read, or ``TransientError`` where it is not: then records of others may have been dropped.
        """
        targets = [ClientPartition(*partition) for partition in partitions] or [UNASSIGNED]
        self._check_membership()
        await self._check_fetching(targets)
        fetch_results.begin_fetch()
        try:
            fetched = await self._consumer.getmany(
                *targets, timeout_ms=int(timeout * 1000), max_records=max_records
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled us: the client's coordination task was, and it stays dead.
            raise ClientLostError("coordination_cancelled") from None
        except Exception as error:
            self._raise_failures(targets)  # it may be known by now whose it is
            # Any class may come out of a fetch: an assertion, a refusal.
            raise TransientError(type(error).__name__, "fetch failed") from error
        finally:
            client_patches.count_fetch_as_ended(self._consumer)
        if not fetched:
            self._raise_failures(targets)
        found = dict.fromkeys(self._fetch_errors.recovered(targets), ()) | fetched
        return {TopicPartition(*partition): records for partition, records in found.items()}

    async def _check_fetching(self, targets: Collection[ClientPartition]) -> None:
        """Raise what the client keeps to itself, before a fetch drains anything."""
        if self._consumer._fetcher._fetch_task.done():  # noqa: SLF001 -- nobody looks at it: the
            # client would hand out nothing for ever
            raise ClientLostError("fetching_ended")
        if not self._fetch_errors.refusals.keys().isdisjoint(targets):
            # Who asks again without a pause must not keep the loop from the next reply.
            await asyncio.sleep(client_patches.FETCH_ERROR_PAUSE)
        self._raise_failures(targets)

    def _raise_failures(self, targets: Collection[ClientPartition]) -> None:
        failed: dict[TopicPartition, TransientError] = {}
        undecodable = fetch_results.failures_of(self._consumer)
        for target in targets:
            kept = self._fetch_errors.kept.pop(target, None)
            cause = self._fetch_errors.refusals.get(target, kept)
            if cause is not None:
                failed[TopicPartition(*target)] = TransientError(cause, "fetch refused")
            bad = undecodable.pop(target, None)
            if bad is not None:
                failed[TopicPartition(*target)] = UndecodableError(bad.cause, bad.first, bad.end)
        if failed:
            raise PartitionsError(failed)

    def _check_membership(self) -> None:
        """Tell trouble of the group from trouble of a partition, before the fetch mixes them."""
        self._static.check()
        coordinator = self._consumer._coordinator  # noqa: SLF001 -- a dead coordination task
        # is never replaced by aiokafka, and a dead heartbeat task raises on every poll
        if coordinator._coordination_task.done():  # noqa: SLF001
            raise ClientLostError("coordination_ended")
        try:
            coordinator.check_errors()
        except Exception as error:
            raise MembershipError(type(error).__name__, "group coordination failed") from error

    async def committed(self, partitions: Partitions) -> Mapping[TopicPartition, Committed | None]:
        """The group's committed offsets; None means that nothing is, never that it is unknown."""
        targets = [ClientPartition(*partition) for partition in partitions]
        with transient_errors("offset_fetch"):
            fetched = await self._consumer._coordinator.fetch_committed_offsets(targets)  # noqa: SLF001
            # -- the public committed() asks for one partition a request
        found = dict[TopicPartition, Committed | None].fromkeys(partitions)
        for target, entry in fetched.items():
            # The protocol lets it be null.
            found[TopicPartition(*target)] = Committed(entry.offset, entry.metadata or "")
        return found

    async def topic_ids(self, topics: Collection[str]) -> TopicIds:
        """The ids of those topics that exist; None for each where the broker has no ids.

        Each time another broker is asked, if there is one. Raises ``TransientError``.

        The client itself is told to look where it knows otherwise, and the group where partitions
        of the topics belong to nobody.
        """
        client = self._consumer._client  # noqa: SLF001 -- nothing public asks
        found, self._ids_told_by = await topic_ids(client, topics, self._ids_told_by)
        known = self.partition_counts()
        if any((topic in known) is not (topic in found) for topic in topics):
            client.force_metadata_update()
        await self._static.claim_unassigned(known)
        return found

    def partition_counts(self) -> Mapping[str, int]:
        """How many partitions each topic has, of those that the client knows of just now."""
        cluster = self._consumer._client.cluster  # noqa: SLF001 -- the public way waits
        found = {topic: cluster.partitions_for_topic(topic) for topic in cluster.topics()}
        return {topic: len(numbers) for topic, numbers in found.items() if numbers}

    async def beginning_offsets(self, partitions: Partitions) -> Offsets:
        """The offsets at which the logs begin now."""
        return await self._offsets(self._consumer.beginning_offsets, partitions)

    async def end_offsets(self, partitions: Partitions) -> Offsets:
        """The offsets behind the last stable records."""
        return await self._offsets(self._consumer.end_offsets, partitions)

    async def _offsets(
        self,
        ask: Callable[[list[ClientPartition]], Awaitable[Mapping[ClientPartition, int]]],
        partitions: Partitions,
    ) -> Offsets:
        if not partitions:  # the client waits for ever for the offsets of none
            return {}
        with transient_errors("list_offsets"):
            found = await ask([ClientPartition(*partition) for partition in partitions])
        return {TopicPartition(*partition): int(offset) for partition, offset in found.items()}

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Commit explicit offsets and their metadata. Raises ``TransientError`` when refused."""
        if self._consumer._coordinator.generation < 0:  # noqa: SLF001 -- outside the group a
            # commit goes out unfenced, and an empty group accepts it: a zombie would rewind
            raise TransientError("not_a_member", "commit refused")
        with transient_errors("commit"):
            await self._consumer.commit(
                {
                    ClientPartition(*partition): OffsetAndMetadata(kept.offset, kept.metadata)
                    for partition, kept in offsets.items()
                }
            )

    async def close(self) -> None:
        """Leave the group and disconnect."""
        with transient_errors("close"):
            await self._consumer.stop()


async def open_group_client(kafka: KafkaSettings, callbacks: RebalanceCallbacks) -> GroupClient:
    """Connect and join the group. Raises ``TransientError`` while no broker answers.

    The consumer is started before it subscribes: started with topics it would wait for its
    first assignment without a limit, and no shutdown could end that.
    """
    limit_decompression(kafka.max_decompressed_bytes)
    fetch_results.use_bounded_results(kafka.max_decompressed_bytes)
    consumer = AIOKafkaConsumer(**_member_options(kafka))
    try:
        with transient_errors("connect"):
            await consumer.start()
        client_patches.refuse_offset_fetch_errors(consumer)
        fetch_results.bound_buffers(consumer, kafka.fetch_max_bytes)
        client_patches.try_each_commit_once(consumer)
        client_patches.space_out_connecting(consumer)
    except BaseException:
        # A silent broker must not hold up a shutdown.
        await stop_quietly(consumer.stop(), GIVE_UP_WAIT)
        raise
    listener = client_patches.QuietListener(consumer, callbacks)
    consumer.subscribe(topics=list(kafka.topics), listener=listener)
    return GroupClient(consumer)
