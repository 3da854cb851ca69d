"""A topic with planted faults: each is found, with its producer and its place, and no other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from consumer.contract.record import Headers
from consumer.kafka.producer import partition_for
from tests.builders import encoded, event
from tests.integration.producer_tools.conftest import PARTITIONS, Ran, Topics

RECORDS = 3000
PRODUCERS: tuple[tuple[str, Headers], ...] = (
    ("(unnamed)", ()),
    (
        "/voice",
        (
            ("ce_specversion", b"1.0"),
            ("ce_type", b"event.recorded"),
            ("ce_id", b"e"),
            ("ce_source", b"/voice"),
        ),
    ),
    ("gateway", (("client-id", b"gateway"),)),
)


async def publish(topics: Topics) -> Counter[tuple[str, str]]:
    """Publish records of three producers; return how often each fault of theirs was planted."""
    planted: Counter[tuple[str, str]] = Counter()
    client = AIOKafkaProducer(bootstrap_servers=topics.bootstrap_servers, linger_ms=5)
    async with client:
        for number in range(RECORDS):
            name, headers = PRODUCERS[number % 3]
            session = f"s-{number % 50}"
            key, value = (
                session.encode(),
                encoded(event(session, f"{number}", payload={"t": "SECRET"})),
            )
            partition = partition_for(key, PARTITIONS)
            match number % 100:
                case 1:
                    value = value.replace(b'"%s"' % session.encode(), b"12345")
                    planted[name, "invalid"] += 1
                case 2:
                    value = value[: -1 - number % 7]
                    planted[name, "undecodable"] += 1
                case 3:
                    partition = (partition + 1) % PARTITIONS
                    planted[name, "partition"] += 1
                case 4:
                    key = b"another"
                    partition = partition_for(key, PARTITIONS)
                    planted[name, "key_mismatch"] += 1
            await client.send(topics.events, value, key, partition, headers=list(headers))
    return planted


def verify(topics: Topics, *arguments: str) -> Ran:
    command = [sys.executable, "-m", "producer_tools", "verify", *arguments]
    command += [f"--bootstrap-servers={topics.bootstrap_servers}"]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


@pytest.mark.real_kafka  # the embedded broker counts a batch as one record
def test_every_planted_fault_is_found_and_nothing_else(topics: Topics) -> None:
    planted = asyncio.run(publish(topics))
    ran = verify(topics, f"--topic={topics.events}", "--json")
    assert ran.code == 1
    found: Counter[tuple[str, str]] = Counter()
    for finding in ran.result["findings"]:
        found[finding["producer"], finding["reason"]] += finding["records"]
        assert all(f"{topics.events}-" in place for place in finding["examples"])
    assert found == planted
    assert ran.result["records"] == RECORDS
    assert "SECRET" not in ran.out
    assert "whether records contradict each other or what is stored (conflict)" in ran.out


@pytest.mark.real_kafka  # as above
def test_a_topic_that_is_in_order_ends_with_0_and_says_what_was_left_out(topics: Topics) -> None:
    messages = [json.dumps(event("s", f"{number}")) for number in range(20)]
    published = topics.run("publish", "-", stdin="\n".join(messages).encode())
    assert published.code == 0
    ran = verify(topics, f"--topic={topics.events}", f"--topic={topics.sessions}", "--last=5")
    assert ran.code == 0
    assert ran.out.startswith("5 records of 1 producer: 0 would be rejected")
    assert "not looked at: 15 offsets before the last 5" in ran.out


def test_a_topic_that_is_not_there_is_named(no_topics: Topics) -> None:
    ran: Any = verify(no_topics, f"--topic={no_topics.events}")
    assert ran.code == 3
    assert f"no such topic: {no_topics.events}" in ran.err
