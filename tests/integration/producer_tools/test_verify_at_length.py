"""Of a hundred thousand records each planted fault is found, with who sent it, and no other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason
from consumer.errors import ExitCode
from consumer.kafka.producer import partition_for
from consumer.settings.model import KafkaSettings
from producer_tools.verification import Verification
from producer_tools.verify import VerifyRequest, verify_lines
from tests.builders import EVENTS, STAMPED_MS
from tests.integration.producer_tools.conftest import PARTITIONS, Topics
from tests.planted_faults import (
    BESIDE_IT,
    IN_THE_VALUE,
    PRODUCERS,
    RECORDS,
    Planted,
    planted,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def records() -> Sequence[Planted]:
    return list(planted(IN_THE_VALUE + BESIDE_IT))


def by_producer(records: Sequence[Planted]) -> Counter[tuple[str, str]]:
    """How often each fault of each producer was planted; every one has made every fault."""
    expected = Counter((one.producer, one.reason.value) for one in records if one.reason)
    assert {reason for _, reason in expected} == set(Reason) - {Reason.CONFLICT}
    assert len(expected) == len(PRODUCERS) * (len(Reason) - 1)
    return expected


@pytest.mark.reliability("F101")
def test_every_fault_of_every_producer_is_found_among_a_hundred_thousand_records(
    records: Sequence[Planted],
) -> None:
    found = Verification(KeyPolicy.DEAD_LETTER, MAX_VALUE_BYTES, "client-id")
    for number, one in enumerate(records):
        found.add(Record(EVENTS, 0, number, STAMPED_MS, one.key, one.value, one.headers), home=0)
    counted: Counter[tuple[str, str]] = Counter()
    for finding, where in found.findings.items():
        counted[finding.producer, finding.reason] += where.records
    assert counted == by_producer(records)
    assert (found.total().records, found.total().warned) == (RECORDS, 0)


@pytest.mark.reliability("F101")
@pytest.mark.real_kafka  # the embedded broker counts a batch as one record
def test_every_fault_of_every_producer_is_found_in_a_topic_of_a_hundred_thousand(
    topics: Topics, records: Sequence[Planted]
) -> None:
    asyncio.run(publish(topics, records))
    began = time.perf_counter()
    command = [sys.executable, "-m", "producer_tools", "verify", "--json"]
    command += [f"--topic={topics.events}", f"--bootstrap-servers={topics.bootstrap_servers}"]
    ran = subprocess.run(
        command,
        env=os.environ | {"CONSUMER_KAFKA__KEY_POLICY": "dead_letter"},
        capture_output=True,
        check=False,
        timeout=100,
    )
    print(f"verify: {time.perf_counter() - began:.1f} s")  # noqa: T201 -- measured, not asserted
    assert ran.returncode == ExitCode.FOUND
    report = json.loads(ran.stdout)
    found: Counter[tuple[str, str]] = Counter()
    for finding in report["findings"]:
        found[finding["producer"], finding["reason"]] += finding["records"]
    assert found == by_producer(records)
    assert (report["records"], report["warned"]) == (RECORDS, 0)


async def publish(topics: Topics, records: Sequence[Planted]) -> None:
    client = AIOKafkaProducer(
        bootstrap_servers=topics.bootstrap_servers, linger_ms=20, max_batch_size=500_000
    )
    async with client:
        for one in records:
            partition = 0 if one.key is None else partition_for(one.key, PARTITIONS)
            await client.send(
                topics.events, one.value, one.key, partition, headers=list(one.headers)
            )


@pytest.mark.reliability("F101")
async def test_every_fault_is_found_in_a_file_of_a_hundred_thousand_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected: Counter[str] = Counter()
    lines: dict[str, list[int]] = {}
    with (tmp_path / "messages.ndjson").open("wb") as file:
        for number, sent in enumerate(planted(IN_THE_VALUE), start=1):
            file.write(sent.value + b"\n")
            if sent.reason is not None:
                expected[sent.reason.value] += 1
                lines.setdefault(sent.reason.value, []).append(number)
    request = VerifyRequest(KafkaSettings(), as_json=True)
    with (tmp_path / "messages.ndjson").open("rb") as file:
        assert await verify_lines("messages", file.fileno(), request) is ExitCode.FOUND
    report = json.loads(capsys.readouterr().out)
    found: Counter[str] = Counter()
    for finding in report["findings"]:
        found[finding["reason"]] += finding["records"]
        numbers = [int(place.removeprefix("line ")) for place in finding["examples"]]
        assert set(numbers) <= set(lines[finding["reason"]])
    assert found == expected
    assert (report["records"], report["rejected"]) == (RECORDS, expected.total())
    assert any("(conflict)" in what for what in report["not_looked_at"])
