"""Batches in flight side by side, and yet as if one after the other.

Where two partitions contradict each other about one session, the first one applied stays. A
dry run could not tell which that will be, were it left to chance. So a batch begins to write
only when no earlier one with a session of its own is still under way; nearly always there is
none, since a session lives in one partition number and so in one lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from consumer.engine.pipeline import Batch, Pipeline
from consumer.ports import BatchReport, Store, WriteBatch
from consumer.state.outcomes import Result
from consumer.state.writes import Write


@dataclass(slots=True, eq=False)
class _Turn:
    """The place of one batch. ``planned`` is set when its sessions are known."""

    earlier: tuple[_Turn, ...]
    sessions: frozenset[str] = frozenset()
    planned: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def plan(self, sessions: frozenset[str]) -> None:
        self.sessions = sessions
        self.planned.set()

    async def comes(self) -> None:
        """Return when no earlier batch can write to a session of this one any more."""
        for turn in self.earlier:
            await turn.planned.wait()
            if not self.sessions.isdisjoint(turn.sessions):
                await turn.ended.wait()
        # Not held longer than needed: each turn would keep all before it alive.
        self.earlier = ()

    def end(self) -> None:
        self.planned.set()
        self.ended.set()


_OWN_TURN: ContextVar[_Turn] = ContextVar("own_turn")
"""Every batch is processed by a task of its own, so this names the batch."""


class OrderedPipeline(Pipeline):
    """Gives each batch its turn, in the order in which they were begun."""

    _under_way: tuple[_Turn, ...] = ()

    async def process(self, batch: Batch) -> BatchReport:
        """See ``Pipeline``."""
        turn = _Turn(self._under_way)
        self._under_way = (*self._under_way, turn)
        _OWN_TURN.set(turn)
        try:
            return await super().process(batch)
        finally:
            turn.end()
            self._under_way = tuple(other for other in self._under_way if other is not turn)


class OrderedStore:
    """``Store`` whose batches wait for their turn; used by an ``OrderedPipeline`` only."""

    def __init__(self, store: Store) -> None:
        """Apply to ``store``."""
        self._store = store

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        """See ``Store``."""
        turn = _OWN_TURN.get()
        turn.plan(frozenset(write.session_id for write in writes))
        return _OrderedWriteBatch(self._store.prepare(writes), turn)

    def forget(self) -> None:
        """See ``Store``."""
        self._store.forget()


@dataclass(frozen=True, slots=True)
class _OrderedWriteBatch:
    write_batch: WriteBatch
    turn: _Turn

    async def execute(self) -> Sequence[Result]:
        await self.turn.comes()
        return await self.write_batch.execute()
