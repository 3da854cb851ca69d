"""The store over MongoDB: begins batches, remembers sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consumer.mongo.application import StoreApplication
from consumer.mongo.collections import Collections
from consumer.mongo.lane import Lanes
from consumer.mongo.session_memory import SessionMemory
from consumer.state.writes import Write


def ignore_cause(_cause: str) -> None:
    """Nobody wants to know."""


class MongoStore:
    """Applies batches idempotently and in any order; implements ``consumer.ports.Store``."""

    def __init__(
        self,
        collections: Collections,
        memory: SessionMemory | None = None,
        on_activity_refused: Callable[[str], None] = ignore_cause,
    ) -> None:
        """``on_activity_refused`` is told why an activity write was refused for good.

        It belongs to no record, so it has no outcome; count it and log it.
        """
        self._collections = collections
        self._memory = SessionMemory() if memory is None else memory
        self._lanes = Lanes()
        self._on_activity_refused = on_activity_refused

    @property
    def collections(self) -> Collections:
        """The primitives beneath, for commands that only read."""
        return self._collections

    def begin(self, writes: Sequence[Write]) -> StoreApplication:
        """Start applying ``writes``, in offset order within each partition. No I/O yet."""
        return StoreApplication(
            writes, self._collections, self._memory, self._lanes, self._on_activity_refused
        )

    def forget(self) -> None:
        """Forget what is remembered of sessions: documents may have gone meanwhile."""
        self._memory.forget()
