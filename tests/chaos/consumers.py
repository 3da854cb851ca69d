"""The consumers at work: always as many as wanted, and an eye on how each of them ends."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import suppress
from random import Random

from consumer.errors import ExitCode
from tests.e2e.processes import Fleet, Service

WANTED = 3
STOP_SECONDS = 45.0
START_SECONDS = 60.0


class Consumers:
    """Hires consumers of the group, and lets them go."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.members: list[Service] = []
        self.ends: Counter[str] = Counter()
        """How many of them were killed, were stopped, and were at their deadline then."""
        self.problems: list[str] = []
        self.most_resident = 0

    async def hire(self) -> Service:
        """Start one more."""
        service = await self._fleet.start(serves=True)
        self.members.append(service)
        return service

    async def fill(self) -> None:
        """Start as many as are missing; one that ended by itself is a problem, and replaced."""
        for service in [one for one in self.members if not one.running]:
            self.members.remove(service)
            self._complain(service, "ended by itself")
        while len(self.members) < WANTED:
            await self.hire()

    def _complain(self, service: Service, what: str) -> None:
        """Note it, unless it ended as it must where no server answered it for a minute."""
        if service.code != ExitCode.PRECONDITION or service.said("partitions_assigned"):
            self.problems.append(f"{what}: {service.last_words()}")

    async def at_work(self) -> None:
        """Wait until each of them has been given partitions."""
        for service in self.members:
            await self._fleet.said(service, "partitions_assigned", seconds=START_SECONDS)

    async def kill(self, service: Service) -> None:
        """End it without a warning."""
        self.members.remove(service)
        service.signal(signal.SIGKILL)
        await self._fleet.ended(service)
        self.ends["killed"] += 1

    async def stop(self, service: Service) -> None:
        """Ask it to end. It must, in time, with all done or with the deadline passed."""
        self.members.remove(service)
        if not service.running:
            self._complain(service, "ended by itself")
            return
        try:
            code = await self._fleet.stopped(service, seconds=STOP_SECONDS)
        except AssertionError:
            self.problems.append(f"does not end: {service.last_words()}")
            with suppress(ProcessLookupError):
                service.signal(signal.SIGKILL)
            return
        self.ends.update(["stopped", *["stopped at the deadline"] * (code == ExitCode.DEADLINE)])
        if not service.lines and code == -signal.SIGTERM:
            return  # it had not got as far as to listen for signals, nor to anything else
        if code not in {ExitCode.DONE, ExitCode.DEADLINE}:
            self._complain(service, f"stopped with exit code {code}")

    def one(self, random: Random) -> Service:
        """Choose one that runs."""
        return random.choice([one for one in self.members if one.running])

    def memory(self) -> dict[str, int]:
        """How many bytes each of them holds now, by name."""
        found = {}
        for service in self.members:
            with suppress(OSError):
                found[service.name] = service.resident_bytes()
        return found

    async def watch(self) -> None:
        """Keep an eye on their memory, for ever."""
        while True:
            self.most_resident = max(self.most_resident, *self.memory().values(), 0)
            await asyncio.sleep(1.0)
