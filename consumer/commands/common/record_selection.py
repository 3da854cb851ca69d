"""Which records a command reads: its options, checked, and the filter they make. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumer.commands.common.time_parsing import parse_moment
from consumer.contract.decode import Decoded, decode
from consumer.contract.kinds import kind_of, known_kinds
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy
from consumer.contract.times import EPOCH
from consumer.errors import SettingsError
from consumer.kafka.ranges import EVERYTHING, Bounds

_NO_SESSION_ID = "is not the id of a session: it must be text, and not empty"

_HIDING = (b"\\", b"data_base64")
"""A value with one of these may hold a text that its bytes do not show."""


@dataclass(frozen=True, slots=True)
class RecordSelection:
    """The options that narrow down what a command reads; None or empty where one is not given.

    ``kinds``: only messages of these types. Times are as they were written.
    """

    topics: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    from_offset: int | None = None
    to_offset: int | None = None
    from_time: str | None = None
    to_time: str | None = None
    sessions: tuple[str, ...] = ()
    all_partitions: bool = False
    kinds: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether any option narrows down what is read."""
        bounds = (self.from_time, self.to_time, self.from_offset, self.to_offset)
        return bool(self.topics or self.partitions or self.sessions or self.kinds) or any(
            bound is not None for bound in bounds
        )


def check_selection(selection: RecordSelection) -> None:
    """Refuse a selection that contradicts itself; where nothing is selected, all is meant.

    Raises ``SettingsError`` with a line for each contradiction.
    """
    violations = list(selection_violations(selection))
    if violations:
        raise SettingsError("\n".join(violations))


def check_session_id(session_id: str) -> None:
    """Refuse an argument that cannot be the id of a session. Raises ``SettingsError``."""
    if not _is_session_id(session_id):
        raise SettingsError(f"SESSION_ID {_NO_SESSION_ID}")


def selection_violations(selection: RecordSelection) -> Iterable[str]:
    """Yield a line for each contradiction within the selection."""
    if not all(map(_is_session_id, selection.sessions)):
        yield f"--session {_NO_SESSION_ID}"
    if selection.all_partitions and not selection.sessions:
        yield "--all-partitions says where a session is looked for: it needs --session"
    yield from kind_violations("--type", selection.kinds)
    first, end = selection.from_offset, selection.to_offset
    if first is not None and end is not None and first >= end:
        yield f"--from-offset {first} is not below --to-offset {end}"
    try:
        bounds_of(selection, datetime.now(UTC))
    except SettingsError as error:
        yield str(error)


def kind_violations(option: str, names: Iterable[str]) -> Iterable[str]:
    """Yield a line for each name that is no kind of message."""
    for name in names:
        if name not in known_kinds():
            yield f"{option} {name!r} is no kind of message; known: {', '.join(known_kinds())}"


def bounds_of(selection: RecordSelection, now: datetime) -> Bounds:
    """Return the bounds in every partition. Raises ``SettingsError``."""
    first, end = selection.from_time, selection.to_time
    from_ms = None if first is None else _milliseconds(parse_moment("--from-time", first, now))
    to_ms = None if end is None else _milliseconds(parse_moment("--to-time", end, now))
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise SettingsError(f"--from-time {first} is not before --to-time {end}")
    return Bounds(selection.from_offset, selection.to_offset, from_ms, to_ms)


def _milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _is_session_id(argument: str) -> bool:
    """Tell whether there is text; bytes that are not UTF-8 come as surrogates."""
    return bool(argument) and not any("\ud800" <= char <= "\udfff" for char in argument)


class MessageFilter:
    """``RecordFilter`` by the time of a record, and by what its message says.

    Of what is not asked for, every record matches. One that cannot be decoded belongs to the
    session that is its key, and to no kind.
    """

    def __init__(
        self,
        max_value_bytes: int,
        sessions: Collection[str] = (),
        kinds: Collection[str] = (),
        bounds: Bounds = EVERYTHING,
    ) -> None:
        """Match records of any of these sessions that are of any of these kinds and in bounds.

        ``max_value_bytes`` is the setting: what is larger cannot be decoded.
        """
        self._max_value_bytes = max_value_bytes
        self._bounds = bounds
        self.outside = 0
        """How many records were passed over for their time."""
        self._sessions = frozenset(sessions)
        self._kinds = frozenset(kinds)
        self._session_bytes = tuple(session.encode() for session in self._sessions)
        # An upcaster may make another id of what an older version says.
        self._upcast = any(kind.upcasters for kind in known_kinds().values())
        self._kind_bytes = tuple(kind.encode() for kind in self._kinds)

    def matches(self, record: Record) -> bool:
        """See ``RecordFilter``."""
        if not self._bounds.hold(record.timestamp_ms):
            self.outside += 1
            return False
        if not (self._sessions or self._kinds):
            return True
        if not self._possible(record):
            return False
        decoded = decode(record, KeyPolicy.WARN, self._max_value_bytes)
        if not isinstance(decoded, Decoded):
            return not self._kinds and record.key in self._session_bytes
        message = decoded.message
        if self._sessions and message.session_id not in self._sessions:
            return False
        return not self._kinds or kind_of(message).name in self._kinds

    def next_match(
        self,
        partition: TopicPartition,  # noqa: ARG002 -- the port's signature
        offset: int,
    ) -> int | None:
        """See ``RecordFilter``: no offset can be told from outside."""
        return offset

    def _possible(self, record: Record) -> bool:
        """Tell cheaply, and never wrongly, that a record cannot match."""
        value = record.value or b""
        if self._upcast or _any_in(_HIDING, value):
            return True
        if self._session_bytes and not (
            record.key in self._session_bytes or _any_in(self._session_bytes, value)
        ):
            return False
        # The type of a CloudEvent may stand in a header.
        return not self._kind_bytes or bool(record.headers) or _any_in(self._kind_bytes, value)


def _any_in(needles: Iterable[bytes], value: bytes) -> bool:
    return any(needle in value for needle in needles)
