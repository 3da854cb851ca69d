"""A Kafka cluster in this process: the mock inside librdkafka, which is made for fault tests.

It keeps groups, sessions and generations, its coordinators and leaders move on demand, and its
brokers go down and come back. It serves one member of a group, not several joining at once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import files
from pathlib import Path

PRODUCER = 0
GROUP = b"group"
ERROR_BYTES = 256


@cache
def _library() -> ctypes.CDLL:
    """The library that the wheel of ``confluent-kafka`` brings along."""
    found = [
        Path(str(file.locate()))
        for file in files("confluent-kafka") or ()
        if file.name.startswith("librdkafka")
    ]
    assert found, "the wheel of confluent-kafka has no librdkafka beside it"
    library = ctypes.CDLL(str(found[0]))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


class MockCluster:
    """Brokers are numbered from 1. Made by ``mock_cluster``."""

    def __init__(self, handle: ctypes.c_void_p) -> None:
        self._handle = handle

    @property
    def bootstrap_servers(self) -> str:
        text: bytes = _library().rd_kafka_mock_cluster_bootstraps(self._handle)
        return text.decode()

    def create_topic(self, name: str, partitions: int, *, leader: int | None = None) -> None:
        """Create a topic, with all its partitions on ``leader`` where one is named."""
        self._do("topic_create", name.encode(), partitions, 1)
        if leader is not None:
            for number in range(partitions):
                self.lead(name, number, leader)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Make a broker the leader of a partition."""
        self._do("partition_set_leader", topic.encode(), partition, broker)

    def coordinate(self, group: str, broker: int) -> None:
        """Make a broker the coordinator of a group."""
        self._do("coordinator_set", GROUP, group.encode(), broker)

    def down(self, broker: int) -> None:
        """Cut a broker's connections and refuse new ones."""
        self._do("broker_set_down", broker)

    def up(self, broker: int) -> None:
        """Let a broker be reached again."""
        self._do("broker_set_up", broker)

    def delete_until(self, topic: str, partition: int, offset: int) -> None:
        """Delete the batches that end before ``offset``, as retention does."""
        self._do("partition_delete_records", topic.encode(), partition, ctypes.c_int64(offset))

    def _do(self, name: str, *arguments: bytes | int | ctypes.c_int64) -> None:
        code = getattr(_library(), f"rd_kafka_mock_{name}")(self._handle, *arguments)
        assert not code, f"{name}{arguments} was refused with {code}"


@contextmanager
def mock_cluster(topics: Mapping[str, int], *, brokers: int = 1) -> Iterator[MockCluster]:
    """Run a cluster with these topics and their numbers of partitions."""
    library = _library()
    complaint = ctypes.create_string_buffer(ERROR_BYTES)
    client = library.rd_kafka_new(
        PRODUCER, ctypes.c_void_p(library.rd_kafka_conf_new()), complaint, ERROR_BYTES
    )
    assert client, complaint.value
    instance = ctypes.c_void_p(client)
    handle = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(instance, brokers))
    try:
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(handle, 0)
        cluster = MockCluster(handle)
        for name, partitions in topics.items():
            cluster.create_topic(name, partitions)
        yield cluster
    finally:
        library.rd_kafka_mock_cluster_destroy(handle)
        library.rd_kafka_destroy(instance)
