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
        self._not_ready: dict[str, Obstacle] = {}
        self._unhealthy: dict[str, Obstacle] = {}
        self._last_beat: float | None = None
        self.not_ready(STARTING, "not assigned to the group yet")

    def not_ready(self, name: str, detail: str) -> None:
        """Say why the process is not ready; the same name again replaces the detail."""
        with self._guard:
            since = self._since(self._not_ready, name)
            self._not_ready[name] = Obstacle(name, detail, since)

    def _since(self, reasons: dict[str, Obstacle], name: str) -> float:
        known = reasons.get(name)
        return self._now() if known is None else known.since

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
            since = self._since(self._unhealthy, name)
            self._unhealthy[name] = Obstacle(name, detail, since, restart_helps=True)

    def healthy(self, name: str) -> None:
        """Take that reason back."""
        with self._guard:
            self._unhealthy.pop(name, None)

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
        return {one.name: one.detail for one in self._all_unhealthy()}

    def unready_reasons(self) -> dict[str, str]:
        """Return why the process is not ready; what is not healthy is not ready either."""
        return {one.name: one.detail for one in self.obstacles()}

    def obstacles(self) -> list[Obstacle]:
        """Return all that the process waits for; one of a name, and first what a restart helps."""
        unhealthy = self._all_unhealthy()
        with self._guard:
            waiting = list(self._not_ready.values())
        names = {one.name for one in unhealthy}
        return [*unhealthy, *(one for one in waiting if one.name not in names)]

    def _all_unhealthy(self) -> list[Obstacle]:
        silent = self.silence()
        with self._guard:
            found = list(self._unhealthy.values())
        if silent >= BEAT_OVERDUE:
            detail = f"no beat for {silent:.0f} s"
            found.append(Obstacle(EVENT_LOOP, detail, self._now() - silent, restart_helps=True))
        return found
