"""Whether the process is ready and whether it lives, by named reasons why not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

STARTING = "starting"
EVENT_LOOP = "event_loop"

BEAT_OVERDUE = 60.0
"""Seconds without a beat of the event loop after which the process counts as stuck."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What the process waits for. ``since`` in Unix time, also where the detail has changed."""

    name: str
    detail: str
    since: float
    restart_helps: bool = False


class Health:
    """The reasons, by name, why the process is not ready, or not even healthy.

    Ready means: assigned, reading and storing. Healthy means: no restart would help. An
    outage of the database makes it unready and never unhealthy. Safe from any thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Begin unready: the process starts. In seconds, monotonic and Unix time."""
        self._clock, self._now = clock, now
        self._guard = threading.Lock()
        self._obstacles: dict[str, Obstacle] = {}
        self._last_beat: float | None = None
        self.not_ready(STARTING, "not assigned to the group yet")

    def not_ready(self, name: str, detail: str, *, restart_helps: bool = False) -> None:
        """Say why the process is not ready; the same name again replaces what was said of it.

        ``restart_helps``: it is not healthy either.
        """
        with self._guard:
            known = self._obstacles.get(name)
            since = self._now() if known is None else known.since
            self._obstacles[name] = Obstacle(name, detail, since, restart_helps)

    def ready(self, name: str) -> None:
        """Take that reason back."""
        with self._guard:
            self._obstacles.pop(name, None)

    def ready_where(self, prefix: str) -> None:
        """Take every reason back whose name begins so."""
        with self._guard:
            for name in [name for name in self._obstacles if name.startswith(prefix)]:
                del self._obstacles[name]

    def beat(self) -> None:
        """Show that the event loop turns. From the first beat on, its absence is noticed."""
        with self._guard:
            self._last_beat = self._clock()

    def silence(self) -> float:
        """Return the seconds since the last beat; 0 before the first."""
        with self._guard:
            return 0.0 if self._last_beat is None else self._clock() - self._last_beat

    def unhealthy_reasons(self) -> dict[str, str]:
        """Return why a restart would help, by name; nothing where the process is well."""
        return {one.name: one.detail for one in self.obstacles() if one.restart_helps}

    def unready_reasons(self) -> dict[str, str]:
        """Return why the process is not ready; what is not healthy is not ready either."""
        return {one.name: one.detail for one in self.obstacles()}

    def obstacles(self) -> list[Obstacle]:
        """Return all that the process waits for, first what a restart helps."""
        silent = self.silence()
        with self._guard:
            found = list(self._obstacles.values())
        if silent >= BEAT_OVERDUE:
            detail = f"no beat for {silent:.0f} s"
            found.append(Obstacle(EVENT_LOOP, detail, self._now() - silent, restart_helps=True))
        return sorted(found, key=lambda one: not one.restart_helps)
