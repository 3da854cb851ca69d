"""A record is kept until the brokers have it, whatever becomes of the client it went over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, NotLeaderForPartitionError

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
        self.stopped = False
        self.client = self

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> asyncio.Future[Any]:
        if self.refuses is not None:
            raise self.refuses
        self.values.append(value)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    async def stop(self) -> None:
        self.stopped = True

    async def close(self) -> None:
        return

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
    assert first.stopped
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
    producer = await connected(clients, delivery_timeout=0.01)
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
    clients.started[0].answers[0].set_exception(MessageSizeTooLargeError())
    with pytest.raises(BrokersError):
        await sent
    producer.raise_undelivered()


async def test_a_record_that_no_broker_takes_harms_no_other(clients: Clients) -> None:
    producer = await connected(clients)
    large, small = [await producer.send(saying(value)) for value in (b"1", b"2")]
    clients.started[0].answers[0].set_exception(MessageSizeTooLargeError())
    clients.started[0].acknowledge(1)
    with pytest.raises(BrokersError):
        await large
    assert (await small).offset == 1
    assert len(clients.started) == 1


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
    await producer.send(saying(b"2"))
    clients.started[0].acknowledge()
    await producer.flush()
    assert producer.acknowledged == 2


async def test_closing_gives_up_what_is_not_acknowledged(clients: Clients) -> None:
    producer = await connected(clients)
    sent = await producer.send(saying(b"1"))
    await producer.close()
    with pytest.raises(BrokersError, match="closed before it was acknowledged"):
        await sent
    assert clients.started[0].stopped


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

    async def full(*_: object) -> None:
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
