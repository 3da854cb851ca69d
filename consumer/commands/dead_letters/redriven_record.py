"""What is sent for a letter: the record as it first came, or the letter to its parking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, FailedRecord
from consumer.contract.dead_letter import ATTEMPT, NAMES
from consumer.contract.record import Headers
from consumer.contract.times import REDRIVE_TIMESTAMP
from consumer.kafka.producer import OutgoingRecord

WITHOUT_TIME: Final = -1
"""The timestamp of a record that has none; the broker takes it as it is."""

_HOUR_MS: Final = 3_600_000
_FOR_EVER: Final = -1


@dataclass(frozen=True, slots=True)
class Destination:
    """A topic that letters go back to: how many partitions, and which timestamps survive there.

    Records are deleted by their timestamps. One that comes back a year later with its first
    timestamp would be gone within minutes, perhaps before it was read, so it goes with the
    clock's, and ``redrive-timestamp-ms`` keeps the first. ``retention_ms`` is None for ever,
    ``retention_known`` whether the brokers tell it: where they do not, no timestamp is known to
    survive. ``ahead_ms`` is how far in the future a timestamp may lie before the broker refuses it.
    """

    name: str
    partitions: int
    retention_ms: int | None
    ahead_ms: int = _HOUR_MS
    behind_ms: int | None = None
    retention_known: bool = True
    compacted: bool = False
    """It keeps one record a key: of several that go back to it the brokers delete all but one."""

    @classmethod
    def from_configs(cls, name: str, partitions: int, configs: Mapping[str, str]) -> Destination:
        """Read the topic's settings, as far as the brokers tell them.

        How far a timestamp may be off they say by refusing it, so that Kafka's defaults do for
        that. They say nothing when they delete.
        """
        retention = int(configs.get("retention.ms", _FOR_EVER))
        behind = int(configs.get("message.timestamp.before.max.ms", 2**63 - 1))
        return cls(
            name,
            partitions,
            None if retention == _FOR_EVER else retention,
            int(configs.get("message.timestamp.after.max.ms", _HOUR_MS)),
            behind,
            "retention.ms" in configs,
            "compact" in configs.get("cleanup.policy", ""),
        )

    def takes(self, timestamp_ms: int, now_ms: int) -> bool:
        """Return whether a record so stamped is accepted, and lives long enough to be read.

        Half the retention must be left: the consumer may lag, or be down for the repair.
        """
        if timestamp_ms == WITHOUT_TIME:
            return True
        age = now_ms - timestamp_ms
        too_old = self.retention_ms is not None and age > self.retention_ms // 2
        refused = self.behind_ms is not None and age > self.behind_ms
        known = self.retention_known
        return known and timestamp_ms >= 0 and -age <= self.ahead_ms and not (too_old or refused)


def redriven_headers(letter: DeadLetterRecord, came_with: Headers) -> Headers:
    """Return the headers of the record that goes back.

    Those it first came with, in their order, nulls and repetitions included; of the
    consumer's own only ``dlq-attempt``, on which its next failure counts on; and its first
    timestamp, once, whatever it carried already.
    """
    return (
        *(
            header
            for header in came_with
            if header[0] != REDRIVE_TIMESTAMP and header[0] not in NAMES
        ),
        (ATTEMPT, str(letter.attempt).encode()),
        (REDRIVE_TIMESTAMP, str(letter.timestamp_ms).encode()),
    )


def redriven(
    letter: DeadLetterRecord, content: FailedRecord, destination: Destination, now_ms: int
) -> OutgoingRecord:
    """Return the record that goes back to where the letter's came from, with this content.

    It goes to its key's partition, as its first producer's default would choose it, also when
    partitions have been added since; without a key to the partition it came from.
    """
    partition = None
    if content.key is None:
        partition = letter.origin.partition % destination.partitions
    takes = destination.takes(letter.timestamp_ms, now_ms)
    return OutgoingRecord(
        destination.name,
        partition,
        letter.timestamp_ms if takes else None,
        content.key,
        content.value,
        redriven_headers(letter, content.headers),
    )


def parked(letter: DeadLetterRecord, parking_topic: str) -> OutgoingRecord:
    """Return the letter itself, unchanged, for the topic where those lie that came too often."""
    record = letter.record
    return OutgoingRecord(parking_topic, None, None, record.key, record.value, record.headers)
