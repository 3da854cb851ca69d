"""Defects of aiokafka 0.14, cured on one consumer at a time.

Each of these touches private names, so they are tied to the pinned version; the tests in
tests/faults/kafka are named after the defects and fail without the cures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupLoadInProgressError,
    KafkaError,
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

FETCH_ERROR_PAUSE = 0.1
"""Seconds between two fetches of a broker that answers with errors."""

_UNREMARKABLE = (NoError, OffsetOutOfRangeError, TopicAuthorizationFailedError)
"""What the client itself acts on or raises."""

_ROUTING = (NotLeaderForPartitionError, UnknownTopicOrPartitionError)
"""What passes when the client has learnt who leads the partition."""


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
        error: type[KafkaError] = for_code(code)
        if error is GroupAuthorizationFailedError:
            raise error(consumer._group_id)  # noqa: SLF001
        if error.retriable:
            coordinator.coordinator_dead()
            raise error
        raise GroupLoadInProgressError(f"OffsetFetch was refused with code {code}")

    coordinator._send_req = send_checked  # noqa: SLF001


class FetchErrors:
    """What is wrong with single partitions' fetches, and the client only logs.

    After an error of a partition it asks again at once, thousands of times a second, and hands
    out silence. ``refusals``: the error's name for each partition whose last reply had one.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Watch the replies to a consumer, and hold back its next fetch after an error."""
        self.refusals: dict[ClientPartition, str] = {}
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
            except KafkaError as error:
                self._note_silence(request, type(error).__name__)
                raise
            if self._note(response):
                await asyncio.sleep(FETCH_ERROR_PAUSE)
            return response

        client.send = send_watched

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
        for known in (self.refusals, self._unanswered):
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
                error: type[KafkaError] = for_code(code)
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
