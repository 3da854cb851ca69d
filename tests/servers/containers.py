"""Servers in Docker."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from tests.servers.control import wait_until

KAFKA_IMAGE = os.environ.get("TEST_KAFKA_IMAGE", "apache/kafka:4.4.0")
MONGODB_IMAGE = os.environ.get("TEST_MONGODB_IMAGE", "mongo:8")


class ApacheKafka(DockerContainer):
    """Apache's own image as one broker that is its own controller."""

    def __init__(self) -> None:
        super().__init__(KAFKA_IMAGE)
        # What a broker advertises must be known before it starts, and so must its port.
        self.port = _free_port()
        self.with_bind_ports(9092, self.port)
        for name, value in self._properties().items():
            self.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        self.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(120))

    @property
    def bootstrap_servers(self) -> str:
        return f"{self.get_container_host_ip()}:{self.port}"

    def _properties(self) -> dict[str, str]:
        return {
            "node.id": "1",
            "process.roles": "broker,controller",
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": "1@localhost:9093",
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "8",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "500",
        }


@contextmanager
def kafka() -> Iterator[str]:
    """Run a broker and yield its bootstrap servers."""
    with ApacheKafka() as container:
        yield container.bootstrap_servers


@contextmanager
def mongodb() -> Iterator[str]:
    """Run a replica set of one that fails on command, and yield its URI."""
    container = DockerContainer(MONGODB_IMAGE).with_exposed_ports(27017)
    container.with_command("mongod --replSet rs0 --setParameter enableTestCommands=1 --bind_ip_all")
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(27017)
        # It knows itself by a name that means nothing out here.
        uri = f"mongodb://{host}:{port}/?directConnection=true"
        wait_until(lambda: _is_primary(uri), f"{MONGODB_IMAGE} does not become primary")
        yield uri


def _is_primary(uri: str) -> bool:
    client = MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=1000)
    with suppress(PyMongoError), client:
        with suppress(OperationFailure):  # it is initiated already
            client.admin.command("replSetInitiate")
        return bool(client.admin.command("hello")["isWritablePrimary"])
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port
