"""What is published is what the consumer applies; what it would refuse is never sent."""

from __future__ import annotations

import asyncio
from collections import UserDict
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.cloudevents import Mode, mode_of
from consumer.contract.decode import Decoded, decode
from consumer.contract.encode import encode_json
from consumer.contract.messages import Message
from consumer.contract.record import NO_TIMESTAMP, Headers, Position, Record
from consumer.contract.rejection import KeyPolicy
from consumer.errors import SettingsError
from consumer.kafka.admin import TopicDescription
from producer_tools import (
    BrokersError,
    CloudEventsFormat,
    EventRecorded,
    EventType,
    InvalidMessageError,
    Publisher,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
    Topics,
    publisher,
)
from producer_tools.outgoing_message import Outgoing, Stream
from producer_tools.publisher import default_partitioner
from tests.builders import created, event

SPOKEN = datetime(2026, 3, 4, 10, 5, 1, 250_000, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

KINDS: tuple[Message, ...] = (
    SessionCreated(session_id="s", language="en", started_at=SPOKEN, metadata={"a": [1.5, None]}),
    SessionCompleted(session_id="s", ended_at=SPOKEN, event_count=3),
    SessionCompleted(session_id="s", ended_at=SPOKEN),
    SessionFailed(session_id="s", ended_at=SPOKEN, reason="hung up"),
    EventRecorded(
        session_id="s\u00e9",
        event_id="e",
        event_type=EventType.BOT_SPEECH,
        payload={"$text": "h\u00e9"},
        timestamp=SPOKEN,
    ),
)


class Brokers:
    """Has two topics and acknowledges everything at once, unless it ``refuses`` it."""

    def __init__(self, max_message_bytes: int = 1024 * 1024) -> None:
        self.records: list[tuple[str, bytes | None, bytes | None, Headers]] = []
        self.options: dict[str, Any] = {}
        self.refuses: Exception | None = None
        self.silent = False
        self.configs = {"max.message.bytes": str(max_message_bytes)}
        self.client = self

    async def describe(self, _kafka: object, names: Any, _operation: object) -> Mapping[str, Any]:
        return {name: TopicDescription(name, 3, 1, self.configs) for name in names}

    async def start(self, options: dict[str, Any], _warn: object) -> Brokers:
        self.options = options
        return self

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        _partition: int | None = None,
        _timestamp_ms: int | None = None,
        headers: Any = None,
        *,
        alone: bool = False,
    ) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.silent:
            return answer
        if self.refuses is None:
            answer.set_result(SimpleNamespace(topic=topic, partition=2, offset=len(self.records)))
        else:
            answer.set_exception(self.refuses)
        self.records.append((topic, key, value, tuple(headers or ())))
        return answer

    async def discard(self, _timeout: float) -> None:
        return

    def last(self) -> Record:
        topic, key, value, headers = self.records[-1]
        return Record(topic, 0, 0, NO_TIMESTAMP, key, value, headers)


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    made = Brokers()
    monkeypatch.setattr(publisher, "describe_topics", made.describe)
    monkeypatch.setattr(publisher, "start_producer", made.start)
    return made


FORMATS = (None, CloudEventsFormat("/voice"), CloudEventsFormat("/voice", structured=True))


@pytest.mark.parametrize("form", FORMATS, ids=["bare", "binary", "structured"])
@pytest.mark.parametrize("message", KINDS, ids=lambda message: type(message).__name__)
async def test_the_consumer_reads_what_was_meant(
    brokers: Brokers, message: Message, form: CloudEventsFormat | None
) -> None:
    async with Publisher(cloud_events=form) as opened:
        await opened.send(message, headers={"tenant": "t"}, traceparent=TRACE)
    record = brokers.last()
    assert decode(record, KeyPolicy.DEAD_LETTER) == Decoded(message, key_mismatch=False)
    assert record.headers[-2:] == (("tenant", b"t"), ("traceparent", TRACE.encode()))


async def test_each_kind_goes_to_its_topic_under_its_session(brokers: Brokers) -> None:
    async with Publisher(topics=Topics("sessions", "events")) as opened:
        await opened.send(created("a"))
        position = await opened.send_and_wait(event("b"))
    assert [(topic, key) for topic, key, *_ in brokers.records] == [
        ("sessions", b"a"),
        ("events", b"b"),
    ]
    assert position == Position("events", 2, 1)
    assert (opened.acknowledged, opened.unconfirmed) == (2, 0)


@pytest.mark.parametrize(
    ("message", "reason", "detail"),
    [
        ({**created(), "sessionId": 12345}, "invalid", "sessionId: must be text"),
        ({**event(), "eventId": 7}, "invalid", "eventId: must be text"),
        (event("s", eventType="noise"), "unsupported_type", "eventType: not a known one"),
        (created("s", language={"en"}), "undecodable", "language: not JSON: TypeError"),
        (event("s", timestamp=SPOKEN), "undecodable", "timestamp: not JSON: TypeError, .*datetime"),
        (event("s", payload={"n": float("nan")}), "undecodable", "payload: not JSON: ValueError"),
        (event("s", payload={"t": "\ud800 secret"}), "undecodable", "payload: .* surrogate"),
        (SessionFailed("s", SPOKEN.replace(tzinfo=None)), "invalid", "endedAt: must have a time"),
        (SessionCreated("", "en", SPOKEN), "invalid", "sessionId: must not be empty"),
        (event("s", payload={"text": "x" * 1024 * 1024}), "too_large", "bytes of at most"),
    ],
)
@pytest.mark.reliability("F98")
async def test_what_the_consumer_would_refuse_is_not_sent(
    brokers: Brokers, message: Any, reason: str, detail: str
) -> None:
    async with Publisher() as opened:
        for send in (opened.send, opened.send_and_wait):
            with pytest.raises(InvalidMessageError, match=detail) as raised:
                await send(message)
            assert raised.value.reason == reason
            assert "secret" not in str(raised.value)
    assert brokers.records == []


@pytest.mark.parametrize("headers", [{"attempt": 5}, {"attempt": None}, {"attempt": "\ud800"}])
async def test_a_header_that_is_neither_text_nor_bytes_is_refused(
    brokers: Brokers, headers: Any
) -> None:
    async with Publisher() as opened:
        with pytest.raises(InvalidMessageError, match="invalid: header attempt: must be text or b"):
            await opened.send(event("s"), headers=headers)
    assert brokers.records == []


@pytest.mark.parametrize("kind_of_mapping", [MappingProxyType, UserDict])
async def test_any_mapping_is_a_message(brokers: Brokers, kind_of_mapping: Any) -> None:
    async with Publisher() as opened:
        await opened.send(kind_of_mapping(event("s")))
    assert brokers.last().value == encode_json(event("s"))


async def test_a_publisher_that_is_open_is_not_opened_again(brokers: Brokers) -> None:
    """Its end would wait for the second connection's messages, and not for the first one's."""
    shared = Publisher()
    async with shared:
        with pytest.raises(RuntimeError, match="is open already"):
            await shared.__aenter__()
        await shared.send_and_wait(event("s"))
    async with shared:
        await shared.send_and_wait(event("s"))
    assert len(brokers.records) == 2


async def test_a_publisher_that_did_not_connect_may_be_opened_again(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Publisher()
    with monkeypatch.context() as patched:
        patched.setattr(publisher, "require_topics", Mock(side_effect=BrokersError("away")))
        with pytest.raises(BrokersError):
            await shared.__aenter__()
    async with shared:
        await shared.send_and_wait(event("s"))
    assert len(brokers.records) == 1


async def test_what_its_topic_would_refuse_is_not_sent(brokers: Brokers) -> None:
    brokers.configs["max.message.bytes"] = "4096"
    async with Publisher() as opened:
        with pytest.raises(InvalidMessageError, match="bytes of at most 4,096"):
            await opened.send(event("s", payload={"text": "x" * 4096}))
    assert brokers.options["max_batch_size"] == 4096


@pytest.mark.parametrize(
    "name", ["ce_id", "content-type", "dlq-reason", "redrive-timestamp-ms", "traceparent"]
)
async def test_headers_that_mean_something_to_the_consumer_are_not_for_others(
    brokers: Brokers, name: str
) -> None:
    async with Publisher() as opened:
        with pytest.raises(InvalidMessageError, match=f"header {name}"):
            await opened.send(created(), headers={name: "x"})


async def test_a_traceparent_that_is_none_is_refused(brokers: Brokers) -> None:
    async with Publisher() as opened:
        with pytest.raises(InvalidMessageError, match="traceparent"):
            await opened.send(created(), traceparent="mine")


async def test_nothing_but_a_message_is_taken_for_one(brokers: Brokers) -> None:
    async with Publisher() as opened:
        with pytest.raises(TypeError, match="a message is a mapping"):
            await opened.send([created()])  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMATS[1:], ids=["binary", "structured"])
async def test_a_cloud_event_keeps_its_id_and_carries_its_trace(
    brokers: Brokers, form: CloudEventsFormat
) -> None:
    async with Publisher(cloud_events=form) as opened:
        for _ in range(2):
            await opened.send(event("s", "e"), traceparent=TRACE)
    assert brokers.records[0] == brokers.records[1]
    record = brokers.last()
    written = str(record.headers) + str(record.value)
    assert all(part in written for part in ("s/e", TRACE, "/voice"))
    mode = mode_of(record.headers)
    assert mode is (Mode.STRUCTURED if form.structured else Mode.BINARY)


@pytest.mark.parametrize("wrong", [{"source": ""}, {"source": "/a", "type_prefix": "com"}])
def test_a_form_that_no_consumer_reads_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        CloudEventsFormat(**wrong)


async def test_the_client_is_named_to_brokers_and_readers(brokers: Brokers) -> None:
    async with Publisher(client_id="voice-gateway") as opened:
        await opened.send(created())
    assert brokers.options["client_id"] == "voice-gateway"
    assert brokers.last().headers == (("client-id", b"voice-gateway"),)


async def test_delivery_is_acknowledged_by_all_replicas_and_idempotent(brokers: Brokers) -> None:
    async with Publisher("a:1,b:2"):
        pass
    assert brokers.options["acks"] == "all"
    assert brokers.options["enable_idempotence"]
    assert brokers.options["bootstrap_servers"] == ["a:1", "b:2"]


def test_brokers_that_are_none_are_refused_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_NO_SUCH_SETTING", "1")
    Publisher("localhost:9092")
    with pytest.raises(SettingsError, match="bootstrap_servers"):
        Publisher("localhost")


async def test_what_nobody_awaited_is_told_by_the_next_send_or_the_end(brokers: Brokers) -> None:
    brokers.refuses = TopicAuthorizationFailedError()
    with pytest.raises(BrokersError, match="was not delivered"):
        async with Publisher() as opened:
            await opened.send(created())
    async with Publisher() as opened:
        await opened.send(created())
        await asyncio.sleep(0)
        with pytest.raises(BrokersError, match="was not delivered"):
            await opened.send(created())
        with pytest.raises(BrokersError, match="was not delivered"):
            await opened.send_and_wait(created())
    assert (opened.acknowledged, opened.unconfirmed) == (0, 2)


@pytest.mark.reliability("F98")
async def test_the_end_raises_what_was_not_acknowledged_although_nobody_waits_any_more(
    brokers: Brokers,
) -> None:
    brokers.silent = True
    opened = await Publisher(delivery_timeout=0.05).__aenter__()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(await opened.send(created()), 0.01)
    with pytest.raises(BrokersError, match="no acknowledgement in time"):
        await opened.__aexit__(None, None, None)
    assert opened.unconfirmed == 1


@pytest.mark.reliability("F98")
async def test_the_end_raises_what_was_given_up_while_it_closed(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers.silent = True
    opened = await Publisher().__aenter__()

    async def flush() -> None:
        """Miss what another task sends meanwhile."""
        await opened.send(created())

    monkeypatch.setattr(opened, "flush", flush)
    with pytest.raises(BrokersError, match="closed before it was acknowledged"):
        await opened.__aexit__(None, None, None)


async def test_after_the_end_nothing_is_sent(brokers: Brokers) -> None:
    async with Publisher() as opened:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await opened.send(created())
    assert brokers.records == []


async def test_what_no_consumer_would_apply_can_be_sent_unchecked(brokers: Brokers) -> None:
    async with Publisher() as opened:
        await opened.send_unchecked(Outgoing(Stream.EVENTS, b"key", b"value"))
    assert brokers.last().value == b"value"


@given(st.binary(max_size=60), st.integers(min_value=1, max_value=200))
def test_a_key_lies_where_the_default_partitioner_puts_it(key: bytes, partitions: int) -> None:
    everyone = list(range(partitions))
    assert default_partitioner(key, everyone, everyone) == DefaultPartitioner()(
        key, everyone, everyone
    )
