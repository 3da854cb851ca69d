"""Where records are sent, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from consumer.commands.dead_letters.dead_letter_status import StatusRecord
from consumer.contract.record import Position
from consumer.kafka.producer import Delivery, OutgoingRecord, Refused, Unconfirmed


class Outbox(Protocol):
    """Where records are sent."""

    async def send(self, records: Sequence[OutgoingRecord]) -> Sequence[Delivery]:
        """Send the records in order and return an answer for each; nothing is raised for one."""
        ...


class NotSentError(Exception):
    """The brokers stopped answering. What they had acknowledged is remembered, if they let us."""


async def write_statuses(outbox: Outbox, topic: str, entries: Sequence[StatusRecord]) -> None:
    """Return when the state topic has the entries. Raises ``NotSentError``."""
    if not entries:
        return
    answers = await outbox.send(
        [OutgoingRecord(topic, None, None, entry.key, entry.value, ()) for entry in entries]
    )
    for answer in answers:
        match answer:
            case Position():
                continue
            case Refused(detail=detail):
                raise NotSentError(f"topic {topic}: {detail}")
            case Unconfirmed(error=error):
                raise NotSentError(f"topic {topic}: {error}") from error
            case _:
                assert_never(answer)
