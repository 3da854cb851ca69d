"""The few primitives the store needs of its two collections.

Implemented over both drivers, and in memory for tests. None of them decides anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bson.raw_bson import RawBSONDocument

from consumer.errors import TransientError
from consumer.state.writes import SessionUpdate

EVENT_KEY = ("sessionId", "eventId")
SESSION_KEY = ("sessionId",)


class RefusedError(TransientError):
    """A whole command was refused for what one of its documents holds.

    Nothing says which: the command is taken apart until one document stands alone, and only
    then is it refused for good. ``code`` is the server's, None where the driver refused.
    """

    def __init__(self, cause: str, code: int | None = None) -> None:
        """Name the trouble."""
        super().__init__(cause)
        self.code = code


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """The error of one statement of a bulk. ``key`` names a violated unique index's fields.

    The server's text is left out: it quotes values of the conversation.
    """

    code: int
    key: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class BulkReply:
    """The answer to one bulk. Statements without a failure are applied and acknowledged.

    ``write_concern_code``: written perhaps, but not by a majority and its journal; then
    nothing in the reply is acknowledged.
    """

    failures: Mapping[int, WriteFailure] = field(default_factory=dict)
    write_concern_code: int | None = None


class Collections(Protocol):
    """The documents.

    Every method raises ``TransientError`` (``TimedOutError`` where a deadline passed,
    ``RefusedError`` where the content was refused) when a command as a whole had no
    answer: it may or may not have been carried out, in part or in full. Finds hold no more
    documents than one reply of the server's.
    """

    async def insert_events(self, documents: Sequence[RawBSONDocument]) -> BulkReply:
        """Insert, unordered; failures by the position in ``documents``."""
        ...

    async def update_sessions(self, updates: Sequence[SessionUpdate]) -> BulkReply:
        """Upsert, unordered; failures by the position in ``updates``."""
        ...

    def find_events(
        self, session_id: str, event_ids: Sequence[str]
    ) -> AsyncIterator[RawBSONDocument]:
        """Yield these events of one session, from the primary, as a majority has them."""
        ...

    def find_sessions(
        self, session_ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncIterator[RawBSONDocument]:
        """Yield these sessions, likewise; ``fields`` besides their id, None: whole documents."""
        ...
