"""No dead letter counts as sent before the brokers have acknowledged it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)

from consumer.contract.dead_letter import DeadLetter, serialized_size
from consumer.contract.record import Position
from consumer.errors import TransientError
from consumer.kafka.dead_letter_topic import KafkaDeadLetters
from consumer.kafka.producer import DISCARD_WAIT
from tests import builders
from tests.fakes.producer import ACKNOWLEDGED, MemoryProducer, SentRecord
from tests.simulation.loop import in_virtual_time

LIMIT = 2_000
SMALLEST = 500


def letter(offset: int, value: bytes = b"value") -> DeadLetter:
    return DeadLetter(
        b"key", value, (("dlq-reason", b"invalid"),), Position(builders.EVENTS, 0, offset)
    )


class Desk:
    """A dead-letter topic whose answers a test gives: at once, never, or with an error."""

    def __init__(self) -> None:
        self.log: list[SentRecord] = []
        self.pending: list[asyncio.Future[Any]] = []
        self.answers: deque[Exception | None] = deque()
        self.silent = False
        self.largest = LIMIT
        """What the topic takes."""
        self.told: int | None = None
        """What it says that it takes; None: that."""
        self.asked = 0
        self.connect_errors: deque[Exception] = deque()
        self.stop_hangs = False
        self.producers: list[MemoryProducer] = []
        self.limits: list[int] = []
        """What each producer was opened for."""
        self.letters = KafkaDeadLetters(
            self._open,
            builders.LETTERS,
            limit=LIMIT,
            smallest=SMALLEST,
            ask_limit=self._ask,
            timeout=10.0,
        )

    async def _ask(self) -> int:
        self.asked += 1
        await asyncio.sleep(0.1)
        return self.largest if self.told is None else self.told

    async def _open(self, limit: int) -> Any:
        self.limits.append(limit)
        producer = _HangingProducer(self._transmit, self._connect)
        producer.hangs = self.stop_hangs
        await producer.start()
        self.producers.append(producer)
        return producer

    async def _connect(self) -> None:
        await asyncio.sleep(0.1)
        if self.connect_errors:
            raise self.connect_errors.popleft()

    def _transmit(self, sent: SentRecord) -> asyncio.Future[Any]:
        if serialized_size(sent.key, sent.value, sent.headers) > self.largest:
            raise MessageSizeTooLargeError
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.log.append(sent)
        self.pending.append(answer)
        error = self.answers.popleft() if self.answers else None
        if error is not None:
            answer.set_exception(error)
        elif not self.silent:
            answer.set_result(ACKNOWLEDGED)
        return answer


class _HangingProducer(MemoryProducer):
    """One whose brokers may not answer, so that it cannot flush."""

    hangs = False

    async def discard(self, timeout: float) -> None:
        if self.hangs:
            await asyncio.sleep(timeout)
        await super().discard(timeout)


@in_virtual_time
async def test_a_letter_is_sent_with_its_key_value_and_headers() -> None:
    desk = Desk()
    await desk.letters.send([letter(0)])
    assert desk.log == [
        SentRecord(builders.LETTERS, b"key", b"value", (("dlq-reason", b"invalid"),))
    ]


@in_virtual_time
async def test_one_letter_without_an_acknowledgement_fails_them_all() -> None:
    desk = Desk()
    desk.answers.extend([None, KafkaTimeoutError(), None])
    with pytest.raises(TransientError, match="KafkaTimeoutError"):
        await desk.letters.send([letter(0), letter(1), letter(2)])


@in_virtual_time
async def test_silence_is_given_up_in_time() -> None:
    desk = Desk()
    desk.silent = True
    begun = asyncio.get_running_loop().time()
    with pytest.raises(TransientError, match="TimeoutError"):
        await desk.letters.send([letter(0)])
    assert asyncio.get_running_loop().time() - begun == pytest.approx(10.0)


@in_virtual_time
async def test_a_producer_that_failed_is_replaced() -> None:
    desk = Desk()
    desk.answers.append(KafkaTimeoutError())
    with pytest.raises(TransientError):
        await desk.letters.send([letter(0)])
    await desk.letters.send([letter(0)])
    assert [producer.stopped for producer in desk.producers] == [True, False]


@in_virtual_time
async def test_a_producer_that_cannot_disconnect_holds_up_no_retry() -> None:
    desk = Desk()
    desk.stop_hangs = True
    desk.answers.append(KafkaTimeoutError())
    begun = asyncio.get_running_loop().time()
    with pytest.raises(TransientError):
        await desk.letters.send([letter(0)])
    assert asyncio.get_running_loop().time() - begun <= DISCARD_WAIT + 0.2


@in_virtual_time
async def test_a_failure_discards_no_producer_but_its_own() -> None:
    desk = Desk()
    desk.silent = True
    late = asyncio.ensure_future(desk.letters.send([letter(0)]))
    await asyncio.sleep(5.0)
    desk.silent = False
    desk.answers.append(KafkaTimeoutError())
    with pytest.raises(TransientError):
        await desk.letters.send([letter(1)])
    await desk.letters.send([letter(1)])
    with pytest.raises(TransientError):
        await late
    assert [producer.stopped for producer in desk.producers] == [True, False]
    await desk.letters.send([letter(2)])
    assert len(desk.producers) == 2


@in_virtual_time
async def test_no_connection_is_trouble_that_passes() -> None:
    desk = Desk()
    desk.connect_errors.append(KafkaTimeoutError())
    with pytest.raises(TransientError):
        await desk.letters.send([letter(0)])
    await desk.letters.send([letter(0)])
    assert len(desk.log) == 1


@in_virtual_time
async def test_two_batches_with_letters_share_one_producer() -> None:
    desk = Desk()
    await asyncio.gather(desk.letters.send([letter(0)]), desk.letters.send([letter(1)]))
    assert len(desk.producers) == 1


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_letters_are_cut_to_what_the_topic_takes_and_no_smaller() -> None:
    desk = Desk()
    fits = letter(1, b"x" * (LIMIT - 150))
    await desk.letters.send([letter(0, b"x" * 5_000), fits])
    cut, whole = desk.log
    assert LIMIT - 20 <= serialized_size(cut.key, cut.value, cut.headers) <= LIMIT
    assert whole.value == fits.value
    assert (len(desk.producers), desk.asked, desk.limits) == (1, 0, [LIMIT])


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_a_topic_that_takes_less_by_now_is_asked_and_only_the_rest_is_sent() -> None:
    desk = Desk()
    desk.largest = 900
    small = [letter(offset) for offset in range(99)]
    await desk.letters.send([*small, letter(99, b"x" * 1_500)])
    assert Counter(sent.value for sent in desk.log)[b"value"] == 99, "each of them once"
    cut = desk.log[-1]
    assert 880 <= serialized_size(cut.key, cut.value, cut.headers) <= 900
    assert (desk.asked, desk.limits) == (1, [LIMIT, 900])
    await desk.letters.send([letter(100, b"x" * 1_500)])
    assert desk.asked == 1, "and it is known from then on"


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_letters_are_halved_until_they_are_taken_where_the_topic_says_nothing_new() -> None:
    desk = Desk()
    desk.largest, desk.told = 600, LIMIT
    await desk.letters.send([letter(0, b"x" * 5_000)])
    assert desk.limits == [LIMIT, LIMIT // 2, LIMIT // 4]


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_a_topic_that_is_widened_is_believed() -> None:
    desk = Desk()
    desk.largest, desk.told = 600, LIMIT
    await desk.letters.send([letter(0, b"x" * 5_000)])
    desk.largest, desk.told = 450, 800
    with pytest.raises(TransientError, match="MessageSizeTooLargeError"):
        await desk.letters.send([letter(1, b"x" * 5_000)])
    desk.largest, desk.told = 800, 800
    await desk.letters.send([letter(1, b"x" * 5_000)])
    cut = desk.log[-1]
    assert 450 < serialized_size(cut.key, cut.value, cut.headers) <= 800


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_two_batches_that_are_refused_at_once_learn_one_limit() -> None:
    desk = Desk()
    await desk.letters.send([letter(0)])  # from here on both batches have the same producer
    desk.told = 1_500
    desk.answers.extend([MessageSizeTooLargeError(), MessageSizeTooLargeError()])
    sending = [desk.letters.send([letter(n, b"x" * 1_800)]) for n in range(2)]
    await asyncio.gather(*sending)
    assert desk.asked == 2
    sizes = [serialized_size(sent.key, sent.value, sent.headers) for sent in desk.log[3:]]
    assert len(sizes) == 2
    assert min(sizes) > 1_400, "cut to less than the topic takes"


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_what_the_broker_refuses_is_cut_and_what_it_took_is_not_sent_again() -> None:
    desk = Desk()
    desk.answers.extend([None, MessageSizeTooLargeError(), OutOfOrderSequenceNumber()])
    await desk.letters.send([letter(0), letter(1, b"x" * 1_500), letter(2, b"behind it")])
    again = desk.log[3:]
    assert [sent.value for sent in again][1:] == [b"behind it"]
    assert serialized_size(again[0].key, again[0].value, again[0].headers) <= LIMIT // 2
    assert [producer.stopped for producer in desk.producers] == [True, False]


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_what_was_acknowledged_before_the_trouble_is_not_sent_again() -> None:
    desk = Desk()
    desk.answers.extend([None, KafkaTimeoutError(), None])
    pending = [letter(0), letter(1), letter(2)]
    with pytest.raises(TransientError):
        await desk.letters.send(pending)
    assert pending == [letter(1)]
    await desk.letters.send(pending)
    assert len(desk.log) == 4


@in_virtual_time
@pytest.mark.reliability("F58")
async def test_what_was_acknowledged_before_the_time_was_over_is_not_sent_again() -> None:
    desk = Desk()
    desk.silent = True
    pending = [letter(0), letter(1)]
    sending = asyncio.ensure_future(desk.letters.send(pending))
    await asyncio.sleep(1.0)
    desk.pending[0].set_result(ACKNOWLEDGED)
    with pytest.raises(TransientError, match="TimeoutError"):
        await sending
    assert pending == [letter(1)]


@in_virtual_time
async def test_a_letter_that_its_producer_drops_is_trouble_and_cancels_nobody() -> None:
    desk = Desk()
    desk.silent = True
    sending = asyncio.ensure_future(desk.letters.send([letter(0)]))
    await asyncio.sleep(1.0)
    desk.pending[0].cancel()
    with pytest.raises(TransientError, match="KafkaError"):
        await sending


@in_virtual_time
async def test_a_letter_that_is_too_large_even_shortened_is_trouble_and_not_lost() -> None:
    desk = Desk()
    desk.largest = 2
    pending = [letter(0)]
    with pytest.raises(TransientError, match="MessageSizeTooLargeError"):
        await desk.letters.send(pending)
    assert pending == [letter(0)]


@in_virtual_time
async def test_closing_takes_no_longer_than_it_may() -> None:
    desk = Desk()
    desk.stop_hangs = True
    await desk.letters.send([letter(0)])
    begun = asyncio.get_running_loop().time()
    await desk.letters.close(2.0)
    await desk.letters.close(2.0)
    assert asyncio.get_running_loop().time() - begun == pytest.approx(2.0)
