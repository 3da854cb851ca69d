"""The activity writes of one batch: an event is there, so its session is past ``initiated``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from consumer.mongo.session_memory import SessionMemory
from consumer.mongo.statements import Statement
from consumer.state.writes import (
    ENDED,
    ActivityWrite,
    EventWrite,
    SessionStatus,
    SessionWrite,
    Write,
)


class Activities:
    """One for each session with events in the batch, until the session is known to be past it.

    Whatever becomes of the events themselves: a crash between the two bulks is healed by
    the redelivery, whose events are duplicates.
    """

    def __init__(self, writes: Iterable[Write], memory: SessionMemory) -> None:
        """Collect the sessions of the batch's events."""
        self._memory = memory
        self.late: set[str] = set()
        """Sessions that had ended before this batch's events came: best effort."""
        self._open: dict[str, Statement[SessionWrite]] = {}
        for session_id, expire_at in _sessions_of_events(writes).items():
            status = memory.status(session_id)
            if status is None:
                self._open[session_id] = Statement(ActivityWrite(session_id, expire_at))
            elif status in ENDED:
                self.late.add(session_id)

    def left(self) -> bool:
        """Tell whether any is still to be written."""
        return bool(self._open)

    def due(self, ending: Collection[str]) -> Sequence[Statement[SessionWrite]]:
        """Return those to send now.

        The end of a session says more than its activity: where one is being sent in the same
        round, the activity waits, and is needed only if the end is refused.
        """
        for session_id in [name for name in self._open if self._memory.status(name)]:
            del self._open[session_id]
        return [statement for name, statement in self._open.items() if name not in ending]

    def settle(self, session_id: str) -> None:
        """Nothing is left to write for this session: acknowledged, or refused for good."""
        self._open.pop(session_id, None)

    def met(self, session_id: str, status: SessionStatus | None) -> None:
        """The store showed the session as somebody else left it."""
        if status in ENDED and session_id in self._open:
            self.late.add(session_id)


def _sessions_of_events(writes: Iterable[Write]) -> dict[str, datetime | None]:
    """Return the sessions with the latest expiry of their events."""
    sessions: dict[str, datetime | None] = {}
    for write in writes:
        if isinstance(write, EventWrite):
            known = sessions.get(write.session_id)
            expire_at = write.expire_at
            if known is not None and (expire_at is None or known > expire_at):
                expire_at = known
            sessions[write.session_id] = expire_at
    return sessions
