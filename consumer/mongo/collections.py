"""The few primitives the store needs of its collections.

Implemented over both drivers, and in memory for tests. None of them decides anything.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consumer.errors import TransientError
from consumer.state.guards import Upsert


class RefusedError(TransientError):
    """A whole command was refused for what one of its documents holds.

    Nothing says which: the command is taken apart until one document stands alone, and only
    then is it refused for good.
    """


class ConnectionLostError(TransientError):
    """A command's answer was cut off, or its server is no primary any more.

    Another server may be well already: worth one more try before anybody waits.
    """


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """The error of one statement of a command. ``key`` names a violated unique index's fields.

    The server's text is left out: it quotes values of the conversation.
    """

    code: int
    key: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class BulkReply:
    """The answer to one write command. Statements without a failure are applied.

    ``write_concern_code``: written perhaps, but not by a majority and its journal; then
    nothing in the reply is acknowledged.
    """

    failures: Mapping[int, WriteFailure] = field(default_factory=dict)
    write_concern_code: int | None = None


class Collections(Protocol):
    """The documents, as BSON, by the name that a collection has in ``consumer.contract.kinds``.

    Every method raises ``TransientError`` (``TimedOutError`` where a deadline passed,
    ``RefusedError`` where the content was refused, or ``ConnectionLostError``) when a command as a
    whole had no answer: it may or may not have been carried out, in part or in full. Finds read
    from the primary what a majority has, and hold no more than one reply of the server's.
    """

    async def insert(self, collection: str, documents: Sequence[bytes]) -> BulkReply:
        """Insert by one unordered command; failures by the position in ``documents``."""

    async def upsert(self, collection: str, upserts: Sequence[Upsert]) -> BulkReply:
        """Upsert by one unordered command; failures by the position in ``upserts``."""

    def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield what has one of ``ids`` in each field of the unique index, reply by reply.

        ``fields`` besides the first id, None: whole documents.
        """
