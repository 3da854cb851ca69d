"""Which records are of certain sessions, of certain kinds, or of a time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from consumer.contract.decode import Decoded, decode
from consumer.contract.messages import (
    EventRecorded,
    Message,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy
from consumer.kafka.ranges import Bounds
from consumer.kafka.selector import Selector

_KIND_OF: dict[type[Message], MessageKind] = {
    SessionCreated: MessageKind.SESSION_CREATED,
    SessionCompleted: MessageKind.SESSION_COMPLETED,
    SessionFailed: MessageKind.SESSION_FAILED,
    EventRecorded: MessageKind.EVENT_RECORDED,
}

_HIDING = (b"\\", b"data_base64")
"""A value with one of these may hold a text that its bytes do not show."""


class MessageFilter:
    """``Selector`` by what a message says; of what it does not say, every kind is wanted.

    A record that cannot be decoded belongs to the session that is its key, and to no kind.
    """

    def __init__(self, sessions: Collection[str] = (), kinds: Collection[MessageKind] = ()) -> None:
        """Want records of any of these sessions that are also of any of these kinds."""
        self._sessions = frozenset(sessions)
        self._kinds = frozenset(kinds)
        self._session_bytes = tuple(session.encode() for session in self._sessions)
        self._kind_bytes = tuple(kind.value.encode() for kind in self._kinds)

    def wants(self, record: Record) -> bool:
        """See ``Selector``."""
        if not self._possible(record):
            return False
        decoded = decode(record, KeyPolicy.WARN)
        if not isinstance(decoded, Decoded):
            return not self._kinds and record.key in self._session_bytes
        message = decoded.message
        if self._sessions and message.session_id not in self._sessions:
            return False
        return not self._kinds or _KIND_OF[type(message)] in self._kinds

    def next_wanted(
        self,
        partition: TopicPartition,  # noqa: ARG002 -- the port's signature
        offset: int,
    ) -> int | None:
        """See ``Selector``: no offset can be told from outside."""
        return offset

    def _possible(self, record: Record) -> bool:
        """Tell cheaply, and never wrongly, that a record cannot be wanted."""
        value = record.value or b""
        if _any_in(_HIDING, value):
            return True
        if self._session_bytes and not (
            record.key in self._session_bytes or _any_in(self._session_bytes, value)
        ):
            return False
        # The type of a CloudEvent may stand in a header.
        return not self._kind_bytes or bool(record.headers) or _any_in(self._kind_bytes, value)


@dataclass(slots=True)
class TimeFilter:
    """``Selector`` of what another one wants, where its time lies inside of the bounds."""

    selector: Selector
    bounds: Bounds
    outside: int = 0
    """How many records were passed over for their time."""

    def wants(self, record: Record) -> bool:
        """See ``Selector``."""
        if not self.bounds.hold(record.timestamp_ms):
            self.outside += 1
            return False
        return self.selector.wants(record)

    def next_wanted(self, partition: TopicPartition, offset: int) -> int | None:
        """See ``Selector``."""
        return self.selector.next_wanted(partition, offset)


def _any_in(needles: Iterable[bytes], value: bytes) -> bool:
    return any(needle in value for needle in needles)
