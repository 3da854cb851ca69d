"""Runs consumers as processes of their own and measures them, and the servers, from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from resource import struct_rusage
from urllib.parse import urlsplit

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from benchmarks.contestants import ROOT, Contestant, Place
from benchmarks.process_watch import ProcessWatch, Watched

LAST_BYTES = 4_000
LOOK_INTERVAL = 0.05
GIVE_UP = 300.0
"""Seconds without a further record."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run took.

    ``seconds``: from the moment when the group is stable until it has committed the ends; of a
    command that ends by itself all of its life. ``timed_share``: of the records, what had not been
    committed at its beginning: a first instance reads while others start. ``cpu_seconds`` of all
    processes, start and end included. The servers' CPU is what they took meanwhile.
    """

    seconds: float
    timed_share: float
    cpu_seconds: float
    watched: Sequence[Watched]
    mongodb_cpu_seconds: float
    kafka_cpu_seconds: float

    @property
    def peak_mib(self) -> float:
        """The most memory of the largest process."""
        return max(watched.peak_mib for watched in self.watched)


class ServerClock:
    """The CPU seconds of the process that listens on a port of this machine."""

    def __init__(self, address: str) -> None:
        """``address``: ``host:port`` or a URI. A server elsewhere takes no time here."""
        parts = urlsplit(address if "//" in address else f"//{address}")
        self._process = _listening_on(parts.port) if parts.port else None

    def seconds(self) -> float:
        """Return what it has taken so far; 0 where it cannot be seen."""
        if self._process is None:
            return 0.0
        times = self._process.cpu_times()
        return float(times.user + times.system)


def _listening_on(port: int) -> psutil.Process | None:
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        if listens and connection.pid is not None:
            return psutil.Process(connection.pid)
    return None


@dataclass(frozen=True, slots=True)
class Started:
    """A process of a contestant. Its log may not be shared: it tells when each began."""

    process: subprocess.Popen[bytes]
    log: Path
    watch: ProcessWatch


async def measure(contestant: Contestant, place: Place, instances: int) -> Measured:
    """Let it read the whole backlog. Ends the benchmark where a process of it fails."""
    mongodb, kafka = ServerClock(place.mongodb), ServerClock(place.kafka.split(",")[0])
    before = mongodb.seconds(), kafka.seconds()
    with tempfile.TemporaryDirectory() as logs:
        started = [_start(contestant, place, Path(logs, str(n))) for n in range(instances)]
        watching = [asyncio.ensure_future(one.watch.watch()) for one in started]
        try:
            seconds, share, usages = await _watch(contestant, place, started)
        except BaseException:
            for one in started:
                print(one.log.read_text(errors="replace")[-LAST_BYTES:])
            raise
        finally:
            for task in watching:
                task.cancel()
            for one in started:
                one.process.kill()
                one.process.returncode = 0
        watched = [one.watch.seen() for one in started]
    after = mongodb.seconds(), kafka.seconds()
    return Measured(
        seconds,
        share,
        sum(usage.ru_utime + usage.ru_stime for usage in usages),
        watched,
        after[0] - before[0],
        after[1] - before[1],
    )


async def _watch(
    contestant: Contestant, place: Place, started: list[Started]
) -> tuple[float, float, list[struct_rusage]]:
    """Let the processes read everything and end; return seconds, timed share and usages."""
    begun = time.perf_counter()
    seconds, share = None, 1.0
    if not contestant.ends:
        ends = await _ends(place)
        async with _administration(place.kafka) as admin:
            seconds, share = await _time_to(ends, admin, place.group, started)
        for one in started:
            one.process.send_signal(signal.SIGTERM)
    usages = []
    for one in started:
        _, status, usage = await asyncio.to_thread(os.wait4, one.process.pid, 0)
        if status and contestant.ends:
            raise SystemExit(f"{contestant.name} ended with {os.waitstatus_to_exitcode(status)}")
        usages.append(usage)
    return seconds or time.perf_counter() - begun, share, usages


def _start(contestant: Contestant, place: Place, log: Path) -> Started:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CONSUMER_")}
    own.pop("PYTHONDONTWRITEBYTECODE", None)  # the peers' packages are compiled already
    begun = time.time()
    with log.open("wb") as written:
        process = subprocess.Popen(
            list(contestant.command()),
            env={**own, **contestant.environment(place)},
            cwd=ROOT,
            stdout=written,
            stderr=written,
        )
    return Started(process, log, ProcessWatch(process.pid, log, begun))


async def _ends(place: Place) -> Mapping[TopicPartition, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=place.kafka)
    await consumer.start()
    try:
        numbers = range(place.backlog.partitions)
        wanted = [TopicPartition(t, p) for t in place.backlog.topics for p in numbers]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
    finally:
        await consumer.stop()
    return {partition: end for partition, end in ends.items() if end}


async def _time_to(
    ends: Mapping[TopicPartition, int],
    admin: AIOKafkaAdminClient,
    group: str,
    started: Sequence[Started],
) -> tuple[float, float]:
    """Return the seconds from the group's being stable to its having committed ``ends``.

    And the share of them that it had not committed at the beginning of that time. Raises
    ``TimeoutError`` where nothing is committed for long.
    """
    joined_by = time.perf_counter() + GIVE_UP
    while not await _stable(admin, group, len(started)):
        _all_alive(started)
        if time.perf_counter() > joined_by:
            raise TimeoutError(f"after {GIVE_UP:.0f} s not all instances have joined")
        await asyncio.sleep(LOOK_INTERVAL)
    begun = moved = time.perf_counter()
    first = last = await _committed(ends, admin, group)
    while last < sum(ends.values()):
        _all_alive(started)
        await asyncio.sleep(LOOK_INTERVAL)
        committed = await _committed(ends, admin, group)
        if committed > last:
            last, moved = committed, time.perf_counter()
        elif time.perf_counter() > moved + GIVE_UP:
            raise TimeoutError(f"nothing was committed for {GIVE_UP:.0f} s")
        for one in started:
            one.watch.share = last / sum(ends.values())
    return moved - begun, 1 - first / sum(ends.values())


async def _committed(
    ends: Mapping[TopicPartition, int], admin: AIOKafkaAdminClient, group: str
) -> int:
    """Return how many records the group has committed."""
    committed = await admin.list_consumer_group_offsets(group)
    return sum(min(max(committed[p].offset, 0), ends[p]) for p in ends if p in committed)


async def _stable(admin: AIOKafkaAdminClient, group: str, members: int) -> bool:
    try:
        (response,) = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:  # the first group of a cluster: it makes the topic
        return False
    ((_, _, state, _, _, joined, *_),) = response.groups
    return state == "Stable" and len(joined) == members


def _all_alive(started: Sequence[Started]) -> None:
    for one in started:
        code = one.process.poll()
        if code is not None:
            raise SystemExit(f"{one.process.args!r} ended with {code}")


@asynccontextmanager
async def _administration(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
