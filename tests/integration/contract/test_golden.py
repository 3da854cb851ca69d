"""The golden messages of docs/golden: the same bytes, partitions and documents in every client."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bson import decode as decode_bson
from bson import json_util
from bson.raw_bson import RawBSONDocument
from confluent_kafka import Consumer, Message, Producer

from consumer.contract.decode import Decoded, decode
from consumer.contract.encode import encode_json
from consumer.contract.messages import MessageKind
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy
from consumer.kafka.producer import partition_for
from consumer.state.guards import update_of
from consumer.state.writes import DocumentWrite, EventWrite, plan
from tests.servers.topics import create_topics

GOLDEN = Path(__file__).parents[3] / "docs" / "golden"
FILES = {
    kind: json.loads((GOLDEN / f"{kind.value}.json").read_text("utf-8")) for kind in MessageKind
}
COUNTS = (6, 12)
FORMS = ("bare", "binary", "structured")
EVERY = [
    pytest.param(kind, form, id=f"{kind}-{FORMS[form]}")
    for kind in MessageKind
    for form in range(len(FORMS))
]


def golden_record(kind: MessageKind, form: int) -> Record:
    said = FILES[kind]
    written = said["records"][form]
    headers: Headers = tuple((name, text.encode()) for name, text in written["headers"])
    key = base64.b64decode(said["key_base64"])
    value = base64.b64decode(written["value_base64"])
    return Record(said["topic"], said["partitions"]["6"], 0, 0, key, value, headers)


def stored(record: Record) -> dict[str, Any]:
    """Return the document that this record alone leads to, but for where it came from."""
    decoded = decode(record, KeyPolicy.DEAD_LETTER)
    assert isinstance(decoded, Decoded)
    write = plan(decoded.message, record)
    document: dict[str, Any]
    match write:
        case EventWrite():
            document = decode_bson(write.document)
        case DocumentWrite():
            update = update_of(write).update
            document = {"sessionId": write.session_id, **update.get("$setOnInsert", {})}
            assert isinstance(update["$set"], RawBSONDocument)
            document |= decode_bson(update["$set"].raw)
        case _:
            raise AssertionError(write)
    origin = {"from", "createdFrom", "endedFrom"}
    kept = {name: value for name, value in document.items() if name not in origin}
    written: dict[str, Any] = json.loads(
        json_util.dumps(kept, json_options=json_util.RELAXED_JSON_OPTIONS)
    )
    return written


@pytest.mark.parametrize(("kind", "form"), EVERY)
def test_a_golden_message_leads_to_its_document(kind: MessageKind, form: int) -> None:
    said = FILES[kind]
    written = said["records"][form]
    assert written["form"] == FORMS[form]
    assert base64.b64decode(written["value_base64"]) == written["value"].encode()
    assert base64.b64decode(said["key_base64"]) == said["key"].encode()
    assert stored(golden_record(kind, form)) == said["document"]


@pytest.mark.parametrize("kind", MessageKind)
def test_a_golden_key_lies_where_it_is_said_to(kind: MessageKind) -> None:
    key = FILES[kind]["key"].encode()
    assert {str(n): partition_for(key, n) for n in COUNTS} == FILES[kind]["partitions"]


def everything(bootstrap_servers: str, topic: str, count: int) -> list[Message]:
    """Read the first ``count`` records of a topic with confluent-kafka."""
    client = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{topic}-golden",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        client.subscribe([topic])
        found: list[Message] = []
        while len(found) < count:
            found += [one for one in client.consume(count, 1.0) if one.error() is None]
        return found
    finally:
        client.close()


Lying = Mapping[tuple[bytes, bytes], tuple[int, Headers]]


def lying_in(bootstrap_servers: str, topic: str) -> Lying:
    """Return the partition and headers of each record by its key and value."""
    read = everything(bootstrap_servers, topic, len(EVERY))
    found: dict[tuple[bytes, bytes], tuple[int, Headers]] = {}
    for one in read:
        headers: Any = one.headers() or ()  # its type allows for what is only sent
        found[one.key() or b"", one.value() or b""] = (one.partition() or 0, tuple(headers))
    return found


def expected(partitions: int) -> Lying:
    return {
        (record.key or b"", record.value or b""): (
            FILES[kind]["partitions"][str(partitions)],
            record.headers,
        )
        for kind in MessageKind
        for record in (golden_record(kind, form) for form in range(len(FORMS)))
    }


@pytest.fixture
async def topic(kafka_bootstrap_servers: str, unique_name: str, partitions: int) -> str:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=partitions)
    return unique_name


@pytest.mark.real_kafka
@pytest.mark.parametrize("partitions", COUNTS)
def test_librdkafka_puts_them_there(
    kafka_bootstrap_servers: str, topic: str, partitions: int
) -> None:
    client = Producer(
        {
            "bootstrap.servers": kafka_bootstrap_servers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
        }
    )
    for kind in MessageKind:
        for form in range(len(FORMS)):
            record = golden_record(kind, form)
            client.produce(topic, record.value, record.key, headers=list(record.headers))
    assert client.flush(30) == 0
    assert lying_in(kafka_bootstrap_servers, topic) == expected(partitions)


def kafka_tool(name: str, *arguments: str, said: bytes = b"") -> bytes:
    """Run one of Kafka's own tools, in Java, through the script that controls the brokers."""
    script, directory = os.environ["TEST_KAFKA_CONTROL"], os.environ["TEST_KAFKA_CONTROL_DIR"]
    command = [script, "cli", name, "--dir", directory, *arguments]
    return subprocess.run(command, input=said, capture_output=True, check=True, timeout=90).stdout


@pytest.mark.kafka_control
@pytest.mark.parametrize("partitions", COUNTS)
def test_kafkas_own_client_puts_them_there_and_reads_them(
    kafka_bootstrap_servers: str, topic: str, partitions: int
) -> None:
    for form in range(len(FORMS)):
        lines = []
        for kind in MessageKind:
            record = golden_record(kind, form)
            headers = b",".join(
                name.encode() + b"~" + (text or b"") for name, text in record.headers
            )
            parts = (headers, record.key or b"", record.value or b"")
            lines.append(b"\t".join(parts[0 if headers else 1 :]))
        with_headers = str(bool(golden_record(MessageKind.EVENT_RECORDED, form).headers)).lower()
        kafka_tool(
            "kafka-console-producer",
            f"--bootstrap-server={kafka_bootstrap_servers}",
            f"--topic={topic}",
            "--reader-property=parse.key=true",
            f"--reader-property=parse.headers={with_headers}",
            "--reader-property=headers.key.separator=~",
            said=b"\n".join(lines) + b"\n",
        )
    assert lying_in(kafka_bootstrap_servers, topic) == expected(partitions)
    read = kafka_tool(
        "kafka-console-consumer",
        f"--bootstrap-server={kafka_bootstrap_servers}",
        f"--topic={topic}",
        "--from-beginning",
        f"--max-messages={len(EVERY)}",
        "--timeout-ms=30000",
        "--formatter-property=print.partition=true",
        "--formatter-property=print.key=true",
    )
    found = {
        (key, value): int(partition.removeprefix(b"Partition:"))
        for partition, key, value in (line.split(b"\t", 2) for line in read.splitlines())
    }
    assert found == {said: partition for said, (partition, _) in expected(partitions).items()}


def test_what_the_files_hold_is_compact_json() -> None:
    for said in FILES.values():
        bare = said["records"][0]
        assert encode_json(json.loads(bare["value"])).decode() == bare["value"]
