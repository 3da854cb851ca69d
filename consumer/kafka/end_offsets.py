"""Asking the brokers where partitions end, on a timer, whatever is being fetched meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby

from consumer.contract.record import Offsets, Partitions, TopicPartition
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.settings.model import KafkaSettings

ENDS_INTERVAL = 5.0
"""Seconds between two questions for the ends of the logs."""


async def watch_end_offsets(
    kafka: KafkaSettings,
    assigned: Callable[[], Partitions],
    learn: Callable[[Offsets], None],
    answers: Callable[[bool], None],
) -> None:
    """Ask again and again where the assigned partitions end, also of what is not being fetched.

    Its connection waits for no batch. ``answers`` is told each time whether the brokers did;
    why they did not is told by whoever reads, who has the same trouble.
    """
    while True:
        answered = False
        with suppress(TransientError, PreconditionError):
            async with open_range_reader(kafka) as reader:
                while True:
                    answered = False
                    ends, silent = await end_offsets_by_topic(
                        reader, assigned(), kafka.request_timeout
                    )
                    if not ends and not await _anybody(reader, kafka):
                        break
                    learn(ends)
                    answers(True)  # noqa: FBT003 -- it is all there is to say
                    answered = True
                    if silent:
                        break
                    await asyncio.sleep(ENDS_INTERVAL)
        if not answered:
            answers(False)  # noqa: FBT003 -- likewise
        await asyncio.sleep(ENDS_INTERVAL)


async def end_offsets_by_topic(
    reader: RangeReader, partitions: Partitions, timeout: float
) -> tuple[dict[TopicPartition, int], bool]:
    """Return where the partitions end, of those topics of which brokers told it in time.

    Each is asked for alone: one that was deleted must not keep the others' ends unknown. And
    whether there was silence about one: the client keeps the connection, which may be dead.
    """

    async def ask(asked: Partitions) -> Offsets | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                try:
                    return await reader.end_offsets(asked)
                except TransientError:
                    return {}
        return None

    topics = groupby(sorted(partitions), key=lambda partition: partition.topic)
    told = await asyncio.gather(*(ask(list(asked)) for _, asked in topics))
    return {
        partition: end for ends in told if ends for partition, end in ends.items()
    }, None in told


async def _anybody(reader: RangeReader, kafka: KafkaSettings) -> bool:
    """Tell whether any broker answers at all, where there were no ends to ask for."""
    with suppress(TransientError, TimeoutError):
        async with asyncio.timeout(kafka.request_timeout):
            await reader.topic_ids(kafka.topics)
            return True
    return False
