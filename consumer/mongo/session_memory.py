"""Which sessions are known to be past ``initiated``: saves repeating the activity write."""

from __future__ import annotations

from collections import OrderedDict

from consumer.state.writes import ENDED, PAST_INITIATED, SessionStatus

DEFAULT_SESSIONS = 50_000


class SessionMemory:
    """A bounded memory, the least recently met session forgotten first.

    Holds only what the store has acknowledged or shown. An optimisation and nothing else: a
    status never goes back, so what is remembered stays true while the documents stay.
    """

    def __init__(self, capacity: int = DEFAULT_SESSIONS) -> None:
        """Remember at most ``capacity`` sessions."""
        self._capacity = capacity
        self._statuses: OrderedDict[str, SessionStatus] = OrderedDict()

    def status(self, session_id: str) -> SessionStatus | None:
        """Return what the session is at least, None where it is not known."""
        status = self._statuses.get(session_id)
        if status is not None:
            self._statuses.move_to_end(session_id)
        return status

    def learn(self, session_id: str, status: SessionStatus | None) -> None:
        """Remember a status that the store acknowledged or showed."""
        if status is None or status not in PAST_INITIATED:
            return
        if self._statuses.get(session_id) not in ENDED:
            self._statuses[session_id] = status
        self._statuses.move_to_end(session_id)
        if len(self._statuses) > self._capacity:
            self._statuses.popitem(last=False)

    def forget(self) -> None:
        """Forget everything."""
        self._statuses.clear()
