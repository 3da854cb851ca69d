"""What must be stored once a set of messages has been applied, in whatever order or number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from consumer.contract.rejection import Reason


@dataclass(slots=True)
class Tally:
    """Counts messages as they are made. ``records`` is everything sent, repetitions included."""

    records: int = 0
    duplicates: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    malformed: Counter[Reason] = field(default_factory=Counter)

    def add(self, message: Mapping[str, object], *, repeated: bool = False) -> None:
        """Count one well-formed message; ``repeated``: it was counted before."""
        self.records += 1
        if repeated:
            self.duplicates += 1
        else:
            self.kinds[str(message["type"])] += 1

    def add_malformed(self, reason: Reason) -> None:
        """Count one message that must end as a dead letter."""
        self.records += 1
        self.malformed[reason] += 1

    def end_state(self) -> dict[str, object]:
        """Return the documents and dead letters that must be there in the end, ready for JSON.

        ``open`` counts the sessions that were created and neither completed nor failed.
        """
        sessions = self.kinds["session.created"]
        completed = self.kinds["session.completed"]
        failed = self.kinds["session.failed"]
        return {
            "records": self.records,
            "sessions": sessions,
            "events": self.kinds["event.recorded"],
            "completed": completed,
            "failed": failed,
            "open": sessions - completed - failed,
            "duplicates": self.duplicates,
            "malformed": self.malformed.total(),
            "dead_letters": {
                reason.value: self.malformed[reason] for reason in sorted(self.malformed)
            },
        }
