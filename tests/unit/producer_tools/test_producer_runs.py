"""What a publication counts, and where it begins, over a sender that is none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from consumer.errors import SettingsError
from consumer.kafka.admin import TopicDescription
from consumer.kafka.connection import BrokersError
from consumer.settings.model import KafkaSettings
from producer_tools import producer_runs, publisher
from producer_tools.outgoing_message import EndState, Outgoing, encode_message
from producer_tools.publisher import Publisher
from tests.fakes.producer import ACKNOWLEDGED

GOOD = b'{"type":"session.created","sessionId":"s%d","language":"en"}\n'


class Producer:
    """Acknowledges what it was given when it is stopped, and not before; ``keeps`` it never."""

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[object]] = []
        self.keys: list[bytes] = []
        self.reached = asyncio.Event()
        self.keeps = 0

    async def send(
        self, _topic: str, _value: bytes, key: bytes, *_: object, **__: object
    ) -> asyncio.Future[object]:
        self.keys.append(key)
        self.futures.append(asyncio.get_running_loop().create_future())
        if len(self.futures) == 3:
            self.reached.set()
        return self.futures[-1]

    async def discard(self, _timeout: float) -> None:
        for future in self.futures[self.keeps :]:
            future.set_result(ACKNOWLEDGED)


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Producer:
    made = Producer()

    async def all_topics(
        _kafka: object, names: Sequence[str], _operation: object
    ) -> Mapping[str, TopicDescription]:
        return {name: TopicDescription(name, 1, 1) for name in names}

    async def started(*_: object) -> Producer:
        return made

    monkeypatch.setattr(publisher, "describe_topics", all_topics)
    monkeypatch.setattr(publisher, "start_producer", started)
    return made


@pytest.fixture
def stream() -> Iterator[int]:
    """Three good lines from someone who has not finished."""
    reading, writing = os.pipe()
    os.write(writing, b"".join(GOOD % number for number in range(3)))
    yield reading
    os.close(writing)
    # Whoever has begun to read may come to it only now: not from the next test's pipe, which gets
    # the same number.
    for thread in threading.enumerate():
        if thread.name == "reading input":
            thread.join()
    os.close(reading)


@pytest.mark.parametrize(
    ("keeps", "said"),
    [
        (0, "interrupted; 3 messages were acknowledged by the brokers\n"),
        (1, "interrupted; 2 messages were acknowledged by the brokers; 1 more were sent and may"),
    ],
)
@pytest.mark.reliability("F86")
async def test_an_interrupt_counts_what_is_acknowledged_while_the_sender_closes(
    producer: Producer, stream: int, keeps: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    producer.keeps = keeps
    publish = producer_runs.publish_lines(
        "<stdin>", stream, Publisher(KafkaSettings()), skip_invalid=False, as_json=False
    )
    running_ = asyncio.ensure_future(publish)
    await producer.reached.wait()
    running_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running_
    assert f"producer-tools: {said}" in capsys.readouterr().err


@pytest.mark.reliability("F86")
async def test_an_interrupted_loading_says_what_was_acknowledged(
    producer: Producer, capsys: pytest.CaptureFixture[str]
) -> None:
    def messages() -> Iterator[Outgoing]:
        yield from (encode_message({"type": "x", "sessionId": "s"}) for _ in range(3))
        asyncio.get_running_loop().call_soon(loading.cancel)

    deliver = producer_runs._deliver(
        "loading", messages(), Publisher(KafkaSettings()), EndState(), as_json=False
    )
    loading = asyncio.ensure_future(deliver)
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert "interrupted; 3 messages were acknowledged" in capsys.readouterr().err


@pytest.mark.reliability("F86")
async def test_what_the_brokers_stop_says_how_far_it_came(
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
    stream: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    send = Publisher.send_unchecked

    async def stopped(publisher: Publisher, outgoing: Outgoing) -> None:
        await send(publisher, outgoing)
        raise BrokersError("gone")

    monkeypatch.setattr(Publisher, "send_unchecked", stopped)
    producer.keeps = 1
    with pytest.raises(BrokersError):
        await producer_runs.publish_lines(
            "<stdin>", stream, Publisher(KafkaSettings()), skip_invalid=False, as_json=False
        )
    said = capsys.readouterr().err
    assert "0 messages were acknowledged by the brokers; 1 more were sent and may be there" in said


@pytest.mark.parametrize("skip_invalid", [False, True])
@pytest.mark.reliability("F86")
async def test_of_a_file_that_was_read_in_part_only_the_rest_is_published(
    producer: Producer, tmp_path: Path, skip_invalid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def acknowledged(
        _topic: str, _value: bytes, key: bytes, *_: object, **__: object
    ) -> asyncio.Future[object]:
        producer.keys.append(key)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result(ACKNOWLEDGED)
        producer.futures.append(future)
        producer.keeps += 1
        return future

    monkeypatch.setattr(producer, "send", acknowledged)
    file = tmp_path / "lines"
    file.write_bytes(b"read by another\n" + GOOD % 1 + GOOD % 2)
    with file.open("rb", buffering=0) as opened:
        opened.readline()
        descriptor = opened.fileno()
        await producer_runs.publish_lines(
            "-", descriptor, Publisher(KafkaSettings()), skip_invalid=skip_invalid, as_json=True
        )
    assert producer.keys == [b"s1", b"s2"]


@pytest.mark.reliability("F86")
async def test_input_that_cannot_be_read_is_named(producer: Producer, tmp_path: Path) -> None:
    with (tmp_path / "written").open("wb") as opened, pytest.raises(SettingsError) as raised:
        await producer_runs.publish_lines(
            "<stdin>", opened.fileno(), Publisher(KafkaSettings()), skip_invalid=True, as_json=False
        )
    assert str(raised.value) == "<stdin> cannot be read (Bad file descriptor)"
    assert producer.keys == []


@pytest.mark.reliability("F86")
async def test_a_file_without_a_message_is_named(
    producer: Producer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "empty.ndjson"
    file.write_text("\n\n")
    with file.open("rb") as opened:
        await producer_runs.publish_lines(
            "empty.ndjson",
            opened.fileno(),
            Publisher(KafkaSettings()),
            skip_invalid=False,
            as_json=False,
        )
    assert "producer-tools: empty.ndjson holds no message\n" in capsys.readouterr().err
    assert producer.futures == []
