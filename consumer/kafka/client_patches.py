"""Defects of aiokafka 0.14, fixed on one consumer at a time.

Each of these touches private names, so they are tied to the pinned version; the tests in
tests/faults/kafka are named after the defects and fail without the fixes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, errors
from aiokafka import TopicPartition as ClientPartition
from aiokafka.protocol.fetch import FetchRequest

from consumer.aio import Backoff, ignore_result
from consumer.contract.record import TopicPartition
from consumer.errors import TransientError

if TYPE_CHECKING:
    from consumer.kafka.client import RebalanceCallbacks

FETCH_ERROR_PAUSE = 0.1
"""Seconds between two fetches of a broker that answers with errors."""

CONNECT_PAUSE = 0.1
LONGEST_CONNECT_PAUSE = 1.0
"""Seconds between two attempts to connect to one broker; each further one doubles."""

METADATA_PAUSE = 0.1
"""Seconds between two questions for metadata."""

_UNREMARKABLE = (errors.NoError, errors.OffsetOutOfRangeError)
"""What the client itself acts on."""

_ROUTING = (errors.NotLeaderForPartitionError, errors.UnknownTopicOrPartitionError)
"""What passes when the client has learnt who leads the partition."""


class QuietListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Keeps exceptions out of the coordination task, which would swallow or die of them."""

    def __init__(self, consumer: AIOKafkaConsumer, callbacks: RebalanceCallbacks) -> None:
        """Hand calls of ``consumer`` on to ``callbacks``."""
        self._consumer = consumer
        self._callbacks = callbacks

    async def on_partitions_revoked(
        self,
        revoked: Collection[ClientPartition],  # noqa: ARG002 -- always all: the protocol is eager
    ) -> None:
        """All partitions are taken away."""
        # A CancelledError that escapes here ends aiokafka's coordination for ever, so the
        # callback runs in a task of its own, of which only the end is awaited.
        await asyncio.wait([asyncio.ensure_future(self._callbacks.on_revoked())])

    async def on_partitions_assigned(self, assigned: Collection[ClientPartition]) -> None:
        """These partitions are given, and no others."""
        # The client would fetch from where it guesses that reading begins, and drop all of it when
        # the partitions are sought.
        self._consumer.pause(*assigned)
        partitions = [TopicPartition(*partition) for partition in assigned]
        await asyncio.wait([asyncio.ensure_future(self._callbacks.on_assigned(partitions))])


def refuse_offset_fetch_errors(consumer: AIOKafkaConsumer) -> None:
    """Turn an error of a whole OffsetFetch reply into an error, not into 'nothing committed'.

    Since version 2 of the request the broker reports group errors in one field and sends no
    topics; the client never looks at it and would start the partitions over.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 -- see the module's docstring
    send: Callable[[Any], Awaitable[Any]] = coordinator._send_req  # noqa: SLF001

    async def send_checked(request: Any) -> Any:  # noqa: ANN401 -- aiokafka ships no types
        response = await send(request)
        code = getattr(response, "error_code", 0) if hasattr(response, "topics") else 0
        if not code:
            return response
        error: type[errors.KafkaError] = errors.for_code(code)
        if error is errors.GroupAuthorizationFailedError:
            raise error(consumer._group_id)  # noqa: SLF001
        if error.retriable:
            coordinator.coordinator_dead()
            raise error
        raise errors.GroupLoadInProgressError(f"OffsetFetch was refused with code {code}")

    coordinator._send_req = send_checked  # noqa: SLF001


def try_each_commit_once(consumer: AIOKafkaConsumer) -> None:
    """Let a refused commit say so, where the client would try it again for ever.

    One offset of a topic that is no more would keep every later commit waiting behind it, and
    a rebalance, too, until its time to drain is over.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 -- see the module's docstring
    send: Callable[..., Awaitable[None]] = coordinator._do_commit_offsets  # noqa: SLF001

    async def send_once(assignment: Any, offsets: Any) -> None:  # noqa: ANN401 -- aiokafka ships
        # no types
        if (task := asyncio.current_task()) is not None:
            # The client shields it, and nobody asks how it ended once the commit is given up.
            task.add_done_callback(ignore_result)
        try:
            await send(assignment, offsets)
        except errors.KafkaError as error:
            if not error.retriable:
                raise
            raise TransientError(type(error).__name__, "commit refused") from error

    coordinator._do_commit_offsets = send_once  # noqa: SLF001


def space_out_connecting(consumer: AIOKafkaConsumer) -> None:
    """Let no two attempts to connect to one broker, nor two questions for metadata, be close.

    After every failed attempt the client asks for metadata at once, for which it connects; and
    as long as a topic is missing, it asks as fast as the brokers answer.
    """
    client = consumer._client  # noqa: SLF001 -- see the module's docstring
    connect: Callable[..., Awaitable[Any]] = client._get_conn  # noqa: SLF001
    update: Callable[..., Awaitable[bool]] = client._metadata_update  # noqa: SLF001
    failures: dict[Any, tuple[int, float]] = {}
    updated_at = 0.0

    async def connect_spaced(node_id: Any, **options: Any) -> Any:  # noqa: ANN401 -- as above
        key = (node_id, options.get("group"))
        count, retry_at = failures.get(key, (0, 0.0))
        if time.monotonic() < retry_at:
            return None
        connection = await connect(node_id, **options)
        if connection is None:
            pause = Backoff(CONNECT_PAUSE, LONGEST_CONNECT_PAUSE).ceiling(count + 1)
            failures[key] = (count + 1, time.monotonic() + pause)
        else:
            failures.pop(key, None)
        return connection

    async def update_spaced(*facts: Any) -> bool:  # noqa: ANN401 -- as above
        nonlocal updated_at
        await asyncio.sleep(max(0.0, updated_at + METADATA_PAUSE - time.monotonic()))
        try:
            return await update(*facts)
        finally:
            updated_at = time.monotonic()

    client._get_conn = connect_spaced  # noqa: SLF001
    client._metadata_update = update_spaced  # noqa: SLF001


class FetchErrors:
    """What is wrong with single partitions' fetches, and the client only logs.

    After an error of a partition it asks again at once, thousands of times a second, and hands
    out silence. ``refusals``: the error's name for each partition whose last reply had one.
    ``kept``: the name of an error that it is about to raise instead, for all partitions.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Watch the replies to a started consumer, and hold back its next fetch after an error."""
        self.refusals: dict[ClientPartition, str] = {}
        self.kept: dict[ClientPartition, str] = {}
        self._recovered: set[ClientPartition] = set()
        self._unanswered: dict[ClientPartition, tuple[float, str]] = {}
        client = consumer._client  # noqa: SLF001 -- see the module's docstring
        send: Callable[..., Awaitable[Any]] = client.send

        async def send_watched(node_id: int, request: Any, **options: Any) -> Any:  # noqa: ANN401
            # -- aiokafka ships no types
            if not isinstance(request, FetchRequest):
                return await send(node_id, request, **options)
            try:
                response = await send(node_id, request, **options)
            except errors.KafkaError as error:
                self._note_silence(request, type(error).__name__)
                raise
            if self._note(response):
                await asyncio.sleep(FETCH_ERROR_PAUSE)
            return response

        fetcher = consumer._fetcher  # noqa: SLF001 -- as above
        keep: Callable[[ClientPartition, Exception], None] = fetcher._set_error  # noqa: SLF001

        def keep_named(target: ClientPartition, error: Exception) -> None:
            self.kept[target] = type(error).__name__
            keep(target, error)

        client.send = send_watched
        fetcher._set_error = keep_named  # noqa: SLF001 -- as above

    def recovered(self, targets: Collection[ClientPartition]) -> set[ClientPartition]:
        """Return, once, those of the partitions that were refused and are not any more."""
        found = self._recovered.intersection(targets)
        self._recovered -= found
        return found

    def unanswered(self, seconds: float) -> dict[ClientPartition, str]:
        """Return the partitions whose leaders have not answered for so long, and why."""
        before = time.monotonic() - seconds
        return {target: why for target, (since, why) in self._unanswered.items() if since <= before}

    def keep(self, targets: Collection[ClientPartition]) -> None:
        """Forget all other partitions: they are not ours any more."""
        for known in (self.refusals, self.kept, self._unanswered):
            for target in known.keys() - set(targets):
                del known[target]
        self._recovered.intersection_update(targets)

    def _note_silence(self, request: Any, cause: str) -> None:  # noqa: ANN401 -- as above
        now = time.monotonic()
        for topic, partitions in request.topics:
            for partition, *_ in partitions:
                self._unanswered.setdefault(ClientPartition(topic, partition), (now, cause))

    def _note(self, response: Any) -> bool:  # noqa: ANN401 -- aiokafka ships no types
        """Remember the errors of a reply; tell whether there was any."""
        pause = False
        for topic, partitions in response.topics:
            for partition, code, *_ in partitions:
                error: type[errors.KafkaError] = errors.for_code(code)
                target = ClientPartition(topic, partition)
                self._unanswered.pop(target, None)
                if error in _UNREMARKABLE or error in _ROUTING:
                    pause = pause or error in _ROUTING
                    if self.refusals.pop(target, None) is not None:
                        self._recovered.add(target)
                    continue
                pause = True
                self.refusals[target] = error.__name__
        return pause


def count_fetch_as_ended(consumer: AIOKafkaConsumer) -> None:
    """Let the client notice again when nobody polls any more.

    A fetch that raises, or is cancelled, would be counted as going on for ever, and a process
    that is stuck would keep its partitions. To be called whenever no fetch is going on.
    """
    subscription = consumer._subscription  # noqa: SLF001 -- see the module's docstring
    if subscription._fetch_count:  # noqa: SLF001
        subscription._fetch_count = 0  # noqa: SLF001
        subscription._last_fetch_ended = time.monotonic()  # noqa: SLF001
