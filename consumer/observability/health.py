"""Whether the process is ready and whether it lives, as a set of named reasons why not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STARTING = "starting"
EVENT_LOOP = "event_loop"

BEAT_OVERDUE = 60.0
"""Seconds without a beat of the event loop after which the process counts as stuck."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer with its reasons by name; no reasons: all is well."""

    reasons: Mapping[str, str]

    @property
    def good(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


class Health:
    """The reasons, by name, why the process is not ready, or not even healthy.

    Ready means: assigned, reading and storing. Healthy means: no restart would help. An
    outage of the database makes it unready and never unhealthy. Safe from any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin unready: the process starts. ``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._guard = threading.Lock()
        self._not_ready: dict[str, str] = {STARTING: "not assigned to the group yet"}
        self._unhealthy: dict[str, str] = {}
        self._last_beat: float | None = None

    def not_ready(self, name: str, detail: str) -> None:
        """Say why the process is not ready; the same name again replaces the detail."""
        with self._guard:
            self._not_ready[name] = detail

    def ready(self, name: str) -> None:
        """Take that reason back."""
        with self._guard:
            self._not_ready.pop(name, None)

    def ready_where(self, prefix: str) -> None:
        """Take every reason back whose name begins so."""
        with self._guard:
            for name in [name for name in self._not_ready if name.startswith(prefix)]:
                del self._not_ready[name]

    def unhealthy(self, name: str, detail: str) -> None:
        """Say why a restart would help."""
        with self._guard:
            self._unhealthy[name] = detail

    def healthy(self, name: str) -> None:
        """Take that reason back."""
        with self._guard:
            self._unhealthy.pop(name, None)

    def beat(self) -> None:
        """Show that the event loop turns. From the first beat on, its absence is noticed."""
        with self._guard:
            self._last_beat = self._clock()

    def liveness(self) -> Verdict:
        """Why a restart would help."""
        with self._guard:
            reasons = dict(self._unhealthy)
            if self._last_beat is not None:
                silent = self._clock() - self._last_beat
                if silent >= BEAT_OVERDUE:
                    reasons[EVENT_LOOP] = f"no beat for {silent:.0f} s"
        return Verdict(reasons)

    def readiness(self) -> Verdict:
        """Why the process is not ready; what is not healthy is not ready either."""
        unhealthy = self.liveness().reasons
        with self._guard:
            return Verdict({**self._not_ready, **unhealthy})
