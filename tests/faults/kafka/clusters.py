"""Clusters to do harm to: the mock one, behind proxies that understand what passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.kafka.frames import Frames, framed
from tests.faults.kafka.mock_cluster import MockCluster, mock_cluster
from tests.faults.kafka.reading import ONE, TOPIC, TWO, publish


@asynccontextmanager
async def mocked(
    partitions: int = 2, *, records: int = 0, batches: int = 1, brokers: int = 1
) -> AsyncIterator[tuple[MockCluster, Frames]]:
    """Run a cluster with one topic, ``records`` in each of its first two partitions."""
    with mock_cluster({TOPIC: partitions}, brokers=brokers) as cluster:
        counts = dict.fromkeys((ONE, TWO)[:partitions], records)
        if records:
            await publish(cluster.bootstrap_servers, counts, batches=batches)
        async with framed(cluster.bootstrap_servers) as frames:
            yield cluster, frames
