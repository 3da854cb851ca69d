"""What every command has before it: the letters' topic, a reader, and what became of letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from consumer.commands.dead_letters.dead_letter_reader import (
    letter_batches,
    letter_ranges,
    load_statuses,
)
from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_selection import Selection
from consumer.commands.dead_letters.dead_letter_status import state_topic
from consumer.commands.dead_letters.dead_letter_topics import check_state_topic
from consumer.commands.dead_letters.outbox import NotSentError
from consumer.commands.dead_letters.status_index import StatusIndex, open_status_index
from consumer.errors import ExitCode
from consumer.kafka.admin import TopicDescription, describe_topics, require_topics
from consumer.kafka.connection import BrokersError, broker_errors
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.ranges import offsets_of
from consumer.kafka.topic_ids import Operation
from consumer.settings import Settings
from consumer.terminal import complain, progress


def warn(text: str) -> None:
    """Tell people something that is no result."""
    complain(f"consumer: {text}")


@dataclass(frozen=True, slots=True)
class DeadLetterContext:
    """One topic of letters, opened. ``topics``: what exists of all that the settings name."""

    settings: Settings
    letters_topic: str
    topics: Mapping[str, TopicDescription]
    reader: RangeReader
    memory: StatusIndex

    @property
    def parked(self) -> bool:
        """Whether the letters are those that were parked."""
        return self.letters_topic == self.settings.dead_letters.parking_topic

    def exit_code(self, otherwise: ExitCode = ExitCode.DONE) -> ExitCode:
        """Name what could not be read: where there is any, the command ends with ``FOUND``."""
        for part in self.reader.spoilt:
            warn(str(part))
        return ExitCode.FOUND if self.reader.spoilt else otherwise

    @property
    def state_topic(self) -> str:
        """The topic that remembers what became of the letters."""
        return state_topic(self.letters_topic)

    def require_all_marks(self) -> None:
        """Refuse to go on where some of the marks cannot be read. Raises ``BrokersError``."""
        missing = [part for part in self.reader.spoilt if part.partition.topic == self.state_topic]
        if missing:
            raise BrokersError(
                f"{'; '.join(map(str, missing))}: which letters have been dealt with is not known, "
                "and they would be sent once more; --again sends them all the same"
            )

    async def letters(
        self, selection: Selection, what: str, *, quiet: bool = False
    ) -> AsyncGenerator[Sequence[DeadLetterRecord | UnreadableDeadLetter], None]:
        """Yield the selected letters that lie there now; those that still come are not met.

        Close the generator, so that its progress ends before anything else is written.
        ``quiet``: without progress, which would get between lines that are being written.
        """
        ranges = await letter_ranges(self.reader, self.letters_topic, selection)
        if quiet:
            async for letters in letter_batches(self.reader, ranges, selection, lambda _: None):
                yield letters
            return
        with progress(what, offsets_of(ranges)) as advance:
            async for letters in letter_batches(self.reader, ranges, selection, advance):
                yield letters


@asynccontextmanager
async def open_context(
    settings: Settings, *, parked: bool, marks: bool = False, sends: bool = False
) -> AsyncIterator[DeadLetterContext]:
    """Open the dead letters, or the parked ones, and read what became of them.

    ``marks``: what becomes of letters will be written down; ``sends``: letters will be sent.

    Raises ``BrokersError``, also for what the brokers refuse while the body runs.
    """
    kafka, letters = settings.kafka, settings.dead_letters
    topic = letters.parking_topic if parked else letters.topic
    state, targets = state_topic(topic), (letters.parking_topic, *kafka.topics)
    with broker_errors(kafka):
        topics = {
            **await describe_topics(kafka, (topic, state), Operation.READ),
            **await describe_topics(kafka, targets, Operation.WRITE if sends else None),
        }
        if marks:
            await describe_topics(kafka, (state,), Operation.WRITE)
        require_topics(kafka, topics, [topic])
        with open_status_index() as memory:
            async with open_range_reader(kafka) as reader:
                context = DeadLetterContext(settings, topic, topics, reader, memory)
                if context.state_topic in topics:
                    check_state_topic(kafka, topics[context.state_topic])
                    with progress("reading what was done before") as advance:
                        await load_statuses(reader, context.state_topic, memory, advance)
                try:
                    yield context
                except NotSentError as error:
                    servers = ", ".join(kafka.bootstrap_servers)
                    raise BrokersError(f"Kafka at {servers}: stopped: {error}") from error
