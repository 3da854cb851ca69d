"""A record is kept until the brokers have it, whatever becomes of the client it went over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
)

from consumer.contract.record import Headers, Position
from consumer.kafka import retrying_producer
from consumer.kafka.connection import BrokersError
from consumer.kafka.producer import OutgoingRecord
from consumer.kafka.retrying_producer import RetryingProducer


class Client:
    """Takes everything and acknowledges nothing by itself."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.refuses: Exception | None = None
        self.alone: list[bytes | None] = []
        self.sending = True
        self.discarded = False

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        *,
        alone: bool = False,
    ) -> asyncio.Future[Any]:
        if self.refuses is not None:
            raise self.refuses
        self.values.append(value)
        if alone:
            self.alone.append(value)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def stop_sending(self) -> None:
        self.sending = False

    async def discard(self, _timeout: float) -> None:
        self.discarded = True

    def acknowledge(self, *numbers: int) -> None:
        for number in numbers or range(len(self.answers)):
            if not self.answers[number].done():
                at = SimpleNamespace(topic="t", partition=0, offset=number)
                self.answers[number].set_result(at)


class Clients:
    """Starts a new client each time.

    ``away`` is how many starts fail first, ``refusing`` how many clients then take nothing.
    """

    def __init__(self) -> None:
        self.started: list[Client] = []
        self.away = 0
        self.refusing = 0
        self.changed = asyncio.Event()

    async def start(self) -> Any:
        if self.away:
            self.away -= 1
            raise KafkaTimeoutError
        self.started.append(Client())
        if self.refusing:
            self.refusing -= 1
            self.started[-1].refuses = KafkaTimeoutError()
        self.changed.set()
        return self.started[-1]

    async def next(self) -> Client:
        await self.changed.wait()
        self.changed.clear()
        return self.started[-1]


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    monkeypatch.setattr(retrying_producer, "_PAUSES", SimpleNamespace(ceiling=lambda _: 0.0))
    return Clients()


async def connected(clients: Clients, **options: Any) -> RetryingProducer:
    producer = RetryingProducer(clients.start, **options)
    await producer.connect()
    await clients.next()
    return producer


def saying(value: bytes, headers: Headers = ()) -> OutgoingRecord:
    return OutgoingRecord("t", None, None, b"k", value, headers)


async def forever(*_: object, **__: object) -> Any:
    await asyncio.get_running_loop().create_future()


async def taken(client: Client, count: int) -> None:
    while len(client.values) < count:  # noqa: ASYNC110 -- some turns of the loop
        await asyncio.sleep(0)


async def test_the_future_tells_where_the_record_lies(clients: Clients) -> None:
    producer = await connected(clients)
    sent = await producer.send(saying(b"1"))
    clients.started[0].acknowledge()
    assert await sent == Position("t", 0, 0)
    assert (producer.sent, producer.acknowledged) == (1, 1)


@pytest.mark.reliability("F98")
async def test_what_a_failed_client_did_not_deliver_goes_over_the_next_in_order(
    clients: Clients,
) -> None:
    producer = await connected(clients)
    sent = [await producer.send(saying(b"%d" % number)) for number in range(4)]
    first = clients.started[0]
    first.acknowledge(0)
    clients.away = 2
    first.answers[1].set_exception(NotLeaderForPartitionError())
    second = await clients.next()
    await taken(second, 3)
    later = await producer.send(saying(b"4"))
    second.acknowledge()
    await asyncio.gather(*sent, later)
    assert first.discarded
    assert second.values == [b"1", b"2", b"3", b"4"]
    assert producer.acknowledged == 5


async def test_an_answer_that_comes_after_all_counts_and_nothing_is_settled_twice(
    clients: Clients,
) -> None:
    producer = await connected(clients)
    sent = [await producer.send(saying(value)) for value in (b"a", b"b")]
    first = clients.started[0]
    first.answers[0].set_exception(NotLeaderForPartitionError())
    second = await clients.next()
    await taken(second, 2)
    first.acknowledge(1)
    await sent[1]
    second.acknowledge()
    await producer.flush()
    assert producer.acknowledged == 2


async def test_a_client_that_fails_while_it_takes_over_is_replaced_too(clients: Clients) -> None:
    producer = await connected(clients)
    sent = await producer.send(saying(b"1"))
    clients.refusing = 1
    clients.started[0].answers[0].set_exception(NotLeaderForPartitionError())
    while len(clients.started) < 3:
        await clients.next()
    third = clients.started[2]
    await taken(third, 1)
    third.acknowledge()
    await sent


@pytest.mark.reliability("F98")
async def test_a_record_is_given_up_when_its_time_is_over_and_the_next_is_tried(
    clients: Clients,
) -> None:
    producer = await connected(clients, delivery_timeout=0.0)
    sent = await producer.send(saying(b"1"))
    with pytest.raises(BrokersError, match="to t was not delivered: TimeoutError: no acknow"):
        await sent
    with pytest.raises(BrokersError):
        producer.raise_undelivered()
    producer.raise_undelivered()
    producer._timeout = 60.0
    later = await producer.send(saying(b"2"))
    clients.started[0].acknowledge()
    assert (await later).offset == 1
    assert (producer.sent, producer.acknowledged) == (2, 1)


async def test_while_no_client_can_be_started_records_are_given_up_too(clients: Clients) -> None:
    producer = await connected(clients, delivery_timeout=0.3)
    sent = await producer.send(saying(b"1"))
    clients.away = 10**9
    clients.started[0].answers[0].set_exception(NotLeaderForPartitionError())
    with pytest.raises(BrokersError, match="to t was not delivered: KafkaTimeoutError"):
        await sent
    clients.away = 0
    producer._timeout = 60.0
    clients.changed.clear()
    later = await producer.send(saying(b"2"))
    second = await clients.next()
    await taken(second, 1)
    second.acknowledge()
    await later
    assert second.values == [b"2"]


async def test_who_watches_a_record_is_told_alone(clients: Clients) -> None:
    producer = await connected(clients)
    sent = await producer.send(saying(b"1"), watched=True)
    clients.started[0].answers[0].set_exception(TopicAuthorizationFailedError())
    with pytest.raises(BrokersError):
        await sent
    producer.raise_undelivered()


@pytest.mark.reliability("F98")
async def test_a_record_that_no_broker_takes_harms_none_that_was_refused_with_it(
    clients: Clients,
) -> None:
    producer = await connected(clients)
    sent = [await producer.send(saying(value)) for value in (b"1", b"2", b"3")]
    for answer in clients.started[0].answers[:2]:  # one batch
        answer.set_exception(MessageSizeTooLargeError())
    second = await clients.next()
    await taken(second, 3)
    assert second.values == [b"1", b"2", b"3"]
    assert second.alone == [b"1", b"2"]
    second.answers[0].set_exception(MessageSizeTooLargeError())
    third = await clients.next()
    await taken(third, 2)
    third.acknowledge()
    with pytest.raises(BrokersError, match="MessageSizeTooLargeError") as refused:
        await sent[0]
    assert "safe" not in str(refused.value)
    assert [(await one).offset for one in sent[1:]] == [0, 1]


async def test_a_topic_that_may_not_be_written_to_is_no_reason_for_another_client(
    clients: Clients,
) -> None:
    producer = await connected(clients)
    sent = await producer.send(saying(b"1"))
    clients.started[0].answers[0].set_exception(TopicAuthorizationFailedError())
    with pytest.raises(BrokersError):
        await sent
    assert not clients.started[0].discarded


@pytest.mark.reliability("F98")
async def test_who_sends_more_than_may_be_on_its_way_waits(clients: Clients) -> None:
    producer = await connected(clients, max_unacknowledged_bytes=10)
    await producer.send(saying(b"12345"))
    second = asyncio.ensure_future(producer.send(saying(b"12345")))
    await asyncio.sleep(0)
    assert not second.done()
    assert clients.started[0].values == [b"12345"]
    clients.started[0].acknowledge()
    await second
    assert len(clients.started[0].values) == 2


async def test_a_record_that_is_larger_than_all_that_may_be_on_its_way_goes_alone(
    clients: Clients,
) -> None:
    producer = await connected(clients, max_unacknowledged_bytes=10)
    await producer.send(saying(b"1" * 100))
    assert len(clients.started[0].values) == 1


async def test_whoever_gives_up_waiting_leaves_the_record_on_its_way(clients: Clients) -> None:
    producer = await connected(clients)
    (await producer.send(saying(b"1"))).cancel()
    flushing = asyncio.ensure_future(producer.flush())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not flushing.done()
    clients.started[0].acknowledge()
    await flushing
    assert producer.acknowledged == 1


@pytest.mark.parametrize("watched", [True, False])
async def test_what_was_not_delivered_and_whose_sender_waits_no_more_is_told(
    clients: Clients, watched: bool
) -> None:
    producer = await connected(clients)
    (await producer.send(saying(b"1"), watched=watched)).cancel()
    await producer.close()
    with pytest.raises(BrokersError, match="closed before it was acknowledged"):
        producer.raise_undelivered()


@pytest.mark.reliability("F98")
async def test_a_record_that_the_client_does_not_take_in_time_is_not_sent(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await connected(clients, delivery_timeout=0.01)
    monkeypatch.setattr(clients.started[0], "send", forever)
    for _ in range(2):
        with pytest.raises(BrokersError, match="nothing was sent of it"):
            await producer.send(saying(b"1"))
    assert (producer.sent, producer.acknowledged) == (0, 0)
    producer.raise_undelivered()


@pytest.mark.reliability("F98")
async def test_while_another_client_is_looked_for_sending_waits_no_longer_than_it_may(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await connected(clients, delivery_timeout=0.05)
    sent = await producer.send(saying(b"1"))
    clients.away = 10**9
    clients.started[0].answers[0].set_exception(NotLeaderForPartitionError())
    await asyncio.sleep(0)
    monkeypatch.setattr(producer, "_start", forever)
    while producer._client is not None:  # noqa: ASYNC110 -- some turns of the loop
        await asyncio.sleep(0)
    with pytest.raises(BrokersError, match=r"in time: .*NotLeader.*nothing was"):
        await producer.send(saying(b"2"))
    assert isinstance(sent.exception(), BrokersError)
    await producer.close()


@pytest.mark.reliability("F98")
async def test_a_client_that_never_starts_is_given_up(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await connected(clients)
    monkeypatch.setattr(retrying_producer, "_START_SECONDS", 0.01)
    starts = [clients.start, forever]

    async def start() -> Any:
        return await starts.pop()()

    monkeypatch.setattr(producer, "_start", start)
    sent = await producer.send(saying(b"1"))
    clients.started[0].answers[0].set_exception(NotLeaderForPartitionError())
    second = await clients.next()
    await taken(second, 1)
    second.acknowledge()
    await sent


@pytest.mark.reliability("F98")
async def test_nothing_overtakes_what_a_failed_client_did_not_deliver(clients: Clients) -> None:
    producer = await connected(clients)
    first = clients.started[0]
    await producer.send(saying(b"1"))
    first.answers[0].set_exception(NotLeaderForPartitionError())
    await asyncio.sleep(0)
    assert not first.sending
    await producer.send(saying(b"2"))
    second = await clients.next()
    await taken(second, 2)
    assert (first.values, second.values) == ([b"1"], [b"1", b"2"])


async def test_what_a_failed_client_does_not_take_goes_over_the_next(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await connected(clients)
    await producer.send(saying(b"1"))
    monkeypatch.setattr(clients.started[0], "send", forever)
    sending = asyncio.ensure_future(producer.send(saying(b"2")))
    await asyncio.sleep(0)
    clients.started[0].answers[0].set_exception(NotLeaderForPartitionError())
    second = await clients.next()
    await taken(second, 2)
    assert second.values == [b"1", b"2"]
    await sending


@pytest.mark.reliability("F98")
async def test_what_is_sent_after_closing_is_refused_and_opens_no_client(clients: Clients) -> None:
    producer = await connected(clients, max_unacknowledged_bytes=10)
    await producer.send(saying(b"12345"))
    waits = asyncio.ensure_future(producer.send(saying(b"12345")))
    await asyncio.sleep(0)
    await producer.close()
    for sending in (waits, producer.send(saying(b"1"))):
        with pytest.raises(RuntimeError, match="closed"):
            await sending
    assert len(clients.started) == 1


async def test_closing_gives_up_what_is_not_acknowledged(clients: Clients) -> None:
    producer = await connected(clients)
    sent = await producer.send(saying(b"1"))
    await producer.close()
    with pytest.raises(BrokersError, match="closed before it was acknowledged"):
        await sent
    assert clients.started[0].discarded


async def test_closing_ends_the_search_for_brokers(clients: Clients) -> None:
    producer = await connected(clients)
    sent = await producer.send(saying(b"1"))
    clients.away = 10**9
    clients.started[0].answers[0].set_exception(KafkaTimeoutError())
    await asyncio.sleep(0)
    await producer.close()
    assert isinstance(sent.exception(), BrokersError)


async def test_what_was_interrupted_before_the_client_took_it_does_not_count_as_sent(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await connected(clients)
    reached = asyncio.Event()

    async def full(*_: object, **__: object) -> None:
        reached.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(clients.started[0], "send", full)
    sending = asyncio.ensure_future(producer.send(saying(b"1")))
    await reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (producer.sent, producer.acknowledged) == (0, 0)
    await producer.flush()
