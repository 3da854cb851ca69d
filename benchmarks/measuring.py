"""Runs consumers as processes of their own and measures them, and the servers, from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from resource import struct_rusage
from typing import IO
from urllib.parse import urlsplit

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from benchmarks.contestants import ROOT, Contestant, Place
from benchmarks.workloads import PARTITIONS

LAST_BYTES = 4_000
LOOK_INTERVAL = 0.05
GIVE_UP = 900.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run took.

    ``seconds``: from the moment when the group is stable until it has committed the ends; of a
    command that ends by itself all of its life. ``timed_share``: of the records, what had not been
    committed at its beginning: a first instance reads while others start. ``cpu_seconds`` of all
    processes, start and end included; ``peak_mib`` of the largest of them. The servers' CPU is
    what they took meanwhile.
    """

    seconds: float
    timed_share: float
    cpu_seconds: float
    peak_mib: float
    mongodb_cpu_seconds: float
    kafka_cpu_seconds: float


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


async def measure(contestant: Contestant, place: Place, instances: int) -> Measured:
    """Let it read the whole backlog. Ends the benchmark where a process of it fails."""
    mongodb, kafka = ServerClock(place.mongodb), ServerClock(place.kafka.split(",")[0])
    before = mongodb.seconds(), kafka.seconds()
    with tempfile.TemporaryFile() as log:
        processes = [_start(contestant, place, log) for _ in range(instances)]
        try:
            seconds, share, usages = await _watch(contestant, place, processes)
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace")[-LAST_BYTES:])
            raise
        finally:
            for process in processes:
                process.kill()
                process.returncode = 0
    after = mongodb.seconds(), kafka.seconds()
    return Measured(
        seconds,
        share,
        sum(usage.ru_utime + usage.ru_stime for usage in usages),
        max(usage.ru_maxrss for usage in usages) / 1024,
        after[0] - before[0],
        after[1] - before[1],
    )


async def _watch(
    contestant: Contestant, place: Place, processes: list[subprocess.Popen[bytes]]
) -> tuple[float, float, list[struct_rusage]]:
    """Let the processes read everything and end; return seconds, timed share and usages."""
    begun = time.perf_counter()
    seconds, share = None, 1.0
    if not contestant.ends:
        ends = await _ends(place)
        async with _administration(place.kafka) as admin:
            reading = _time_to(ends, admin, place.group, processes)
            seconds, share = await asyncio.wait_for(reading, GIVE_UP)
        for process in processes:
            process.send_signal(signal.SIGTERM)
    usages = []
    for process in processes:
        _, status, usage = await asyncio.to_thread(os.wait4, process.pid, 0)
        if status and contestant.ends:
            raise SystemExit(f"{contestant.name} ended with {os.waitstatus_to_exitcode(status)}")
        usages.append(usage)
    return seconds or time.perf_counter() - begun, share, usages


def _start(contestant: Contestant, place: Place, log: IO[bytes]) -> subprocess.Popen[bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CONSUMER_")}
    return subprocess.Popen(
        list(contestant.command()),
        env={**own, **contestant.environment(place)},
        cwd=ROOT,
        stdout=log,
        stderr=log,
    )


async def _ends(place: Place) -> Mapping[TopicPartition, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=place.kafka)
    await consumer.start()
    try:
        wanted = [TopicPartition(t, p) for t in place.backlog.topics for p in range(PARTITIONS)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
    finally:
        await consumer.stop()
    return {partition: end for partition, end in ends.items() if end}


async def _time_to(
    ends: Mapping[TopicPartition, int],
    admin: AIOKafkaAdminClient,
    group: str,
    processes: list[subprocess.Popen[bytes]],
) -> tuple[float, float]:
    """Return the seconds from the group's being stable to its having committed ``ends``.

    And the share of them that it had not committed at the beginning of that time.
    """
    while not await _stable(admin, group, len(processes)):
        _all_alive(processes)
        await asyncio.sleep(LOOK_INTERVAL)
    begun = time.perf_counter()
    before = await admin.list_consumer_group_offsets(group)
    read = sum(max(before[p].offset, 0) for p in ends if p in before)
    share = 1 - read / sum(ends.values())
    while True:
        _all_alive(processes)
        committed = await admin.list_consumer_group_offsets(group)
        if all(p in committed and committed[p].offset >= end for p, end in ends.items()):
            return time.perf_counter() - begun, share
        await asyncio.sleep(LOOK_INTERVAL)


async def _stable(admin: AIOKafkaAdminClient, group: str, members: int) -> bool:
    try:
        (response,) = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:  # the first group of a cluster: it makes the topic
        return False
    ((_, _, state, _, _, joined, *_),) = response.groups
    return state == "Stable" and len(joined) == members


def _all_alive(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        code = process.poll()
        if code is not None:
            raise SystemExit(f"{process.args!r} ended with {code}")


@asynccontextmanager
async def _administration(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
