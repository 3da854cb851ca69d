"""The latest warnings and errors of the log, kept in memory for the status page."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

MOST_INCIDENTS = 50
MOST_FACTS = 12

LONGEST_FACT = 400
"""Characters of one fact as it is kept."""

LEVELS = frozenset({"warning", "error", "critical"})

_NOT_FACTS = frozenset({"timestamp", "level", "event", "repeated"})
_IDENTIFYING = ("logger", "partition", "stage", "cause", "reason", "subject")


@dataclass(frozen=True, slots=True)
class IncidentFact:
    """One fact of an event, as text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Incident:
    """An event of the log, and those like it since ``first``; its facts are the last one's.

    ``first``: None where there was but one.
    """

    level: str
    event: str
    first: str | None
    last: str
    count: int
    facts: tuple[IncidentFact, ...]


class RecentIncidents:
    """The latest incidents; those of the same event, level and place are one. Safe from any thread.

    It keeps what it is given: that comes from the log, cleaned of secrets and payload.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._guard = threading.Lock()
        self._incidents: OrderedDict[tuple[str, ...], Incident] = OrderedDict()

    def add(self, event: Mapping[str, object]) -> None:
        """Remember an event of the log where it is a warning or worse."""
        level, name = str(event.get("level")), str(event.get("event"))
        if level not in LEVELS:
            return
        repeated, at = event.get("repeated"), str(event.get("timestamp", ""))
        count = 1 + (repeated if isinstance(repeated, int) else 0)
        facts = [_fact(name, value) for name, value in event.items() if name not in _NOT_FACTS]
        incident = Incident(
            level, name, at if count > 1 else None, at, count, tuple(facts[:MOST_FACTS])
        )
        key = (level, name, *(str(event.get(name)) for name in _IDENTIFYING))
        with self._guard:
            before = self._incidents.pop(key, None)
            if before is not None:
                first = before.first or before.last
                incident = replace(incident, first=first, count=before.count + count)
            self._incidents[key] = incident
            while len(self._incidents) > MOST_INCIDENTS:
                self._incidents.popitem(last=False)

    def latest(self) -> list[Incident]:
        """Return them, the latest first."""
        with self._guard:
            return list(reversed(self._incidents.values()))


def _fact(name: str, value: object) -> IncidentFact:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.partition("\n")[0]  # of a failure the frames are in the log
    return IncidentFact(name, text if len(text) <= LONGEST_FACT else text[:LONGEST_FACT] + "…")
