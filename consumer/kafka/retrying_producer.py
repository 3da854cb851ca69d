"""Sending without end: many records on their way, each kept until the brokers have it.

Where a client fails, another takes its place and sends again, in order, what was not
acknowledged: the same bytes, so that whatever arrives twice is recognised by its ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors

from consumer.aio import Backoff, cancel_and_wait, ignore_result
from consumer.contract.record import Position
from consumer.errors import drop_tracebacks
from consumer.kafka.connection import BrokersError, describe_error
from consumer.kafka.producer import (
    ABOUT_ONE_RECORD,
    DISCARD_WAIT,
    FAILURES,
    AnyRecordProducer,
    OutgoingRecord,
    answer_to,
)

MAX_UNACKNOWLEDGED_BYTES: Final = 32 * 1024 * 1024
"""Memory of the records on their way; who sends more waits."""

DELIVERY_TIMEOUT: Final = 120.0
"""Seconds, Kafka's own default of delivery.timeout.ms."""

_START_SECONDS: Final = 30.0
"""A client looks for brokers that serve it for ever, among those it has found first."""

_STOP_SECONDS: Final = 5.0
_PAUSES: Final = Backoff(0.1, 5.0)

_LASTING: Final = (*ABOUT_ONE_RECORD, errors.TopicAuthorizationFailedError)
"""What no other client and no later moment mends."""


@dataclass(slots=True, eq=False)
class _Unacknowledged:
    """A record on its way. ``deadline``: when it is given up, by the loop's clock.

    ``watched``: whoever sent it learns from the future itself that it was not delivered.
    ``alone``: a batch that it was in has been refused; it goes in a batch of its own.
    """

    record: OutgoingRecord
    size: int
    deadline: float
    delivered: asyncio.Future[Position]
    watched: bool
    alone: bool = False


class RetryingProducer:
    """Sends records in the order they are given, over a client that is replaced if it fails."""

    def __init__(
        self,
        start: Callable[[], Awaitable[AnyRecordProducer]],
        *,
        delivery_timeout: float = DELIVERY_TIMEOUT,
        max_unacknowledged_bytes: int = MAX_UNACKNOWLEDGED_BYTES,
    ) -> None:
        """``start`` returns a started client. ``delivery_timeout``: seconds for each record.

        An idempotent client never gives one up by itself.
        """
        self._start = start
        self._timeout = delivery_timeout
        self._max_bytes = max_unacknowledged_bytes
        self._client: AnyRecordProducer | None = None
        self._waiting: dict[_Unacknowledged, None] = {}  # in order
        self._bytes = 0
        self._progress = asyncio.Event()
        self._sending = asyncio.Lock()
        self._failure: BaseException | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._taking: asyncio.Timeout | None = None
        self._closed = False
        self._attempts = 0
        self._timer: asyncio.TimerHandle | None = None
        self._undelivered: BrokersError | None = None
        self.sent = 0
        self.acknowledged = 0

    async def connect(self) -> None:
        """Connect now and not with the first record. Raises what the client raises."""
        async with asyncio.timeout(_START_SECONDS):
            self._client = await self._start()
        self._failure = None

    async def send(
        self, record: OutgoingRecord, *, watched: bool = False
    ) -> asyncio.Future[Position]:
        """Put the record on its way, waiting while too much is; the future tells where it lies.

        The future raises ``BrokersError`` where the record is given up; whether the brokers have
        it is not known then. Unless it is ``watched``, so does ``raise_undelivered``.
        Raises ``BrokersError`` where it could not be put on its way in time, and ``RuntimeError``
        where this was closed: nothing was sent then.
        """
        size, loop = record.bytes, asyncio.get_running_loop()
        deadline, delivered = loop.time() + self._timeout, loop.create_future()
        waiting = _Unacknowledged(record, size, deadline, delivered, watched)
        try:
            async with asyncio.timeout_at(deadline):
                while self._waiting and self._bytes + size > self._max_bytes:
                    await self._next_progress()
                async with self._sending:
                    await self._put_on_its_way(waiting)
        except TimeoutError as error:
            if delivered.done():  # given up at the same moment
                return delivered
            cause = describe_error(self._failure or TimeoutError("the brokers are behind"))
            words = f"a message to {record.topic} could not be sent in time: {cause}"
            raise BrokersError(f"{words}; nothing was sent of it") from error
        self._set_timer()
        return delivered

    async def _put_on_its_way(self, waiting: _Unacknowledged) -> None:
        if self._closed:
            raise RuntimeError("closed: nothing more is sent")
        self._waiting[waiting] = None
        self._bytes += waiting.size
        self.sent += 1
        if self._client is None or self._has_failed:  # it goes with what waits, in order
            self._failed(self._client, self._failure or errors.KafkaError("not connected"))
            return
        try:
            await self._hand_over(waiting)
        except asyncio.CancelledError:
            self._withdraw(waiting)
            raise

    def _withdraw(self, waiting: _Unacknowledged) -> None:
        """Forget a record that the client has not taken: it never sends one then."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            self._bytes -= waiting.size
            self.sent -= 1
            self._progress.set()

    def raise_undelivered(self) -> None:
        """Raise ``BrokersError`` once for records that were given up and that nobody watches."""
        error, self._undelivered = self._undelivered, None
        if error is not None:
            raise error

    async def flush(self) -> None:
        """Return when every record that was sent so far is acknowledged or given up."""
        for waiting in list(self._waiting):
            while waiting in self._waiting:  # its future may have been cancelled
                await self._next_progress()

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    async def close(self) -> None:
        """Disconnect; what is on its way is waited for a little, then given up.

        What was given up ``raise_undelivered`` tells.
        """
        self._closed = True
        self._interrupt()
        if self._timer is not None:
            self._timer.cancel()
        if self._replacing is not None:
            await cancel_and_wait(self._replacing)
        await self._discard(_STOP_SECONDS)
        for waiting in list(self._waiting):
            self._settle(waiting, errors.KafkaError("closed before it was acknowledged"))

    async def _hand_over(self, waiting: _Unacknowledged) -> None:
        client = self._client
        if client is None or waiting not in self._waiting:
            return
        try:
            async with asyncio.timeout(None) as taking:
                self._taking = taking
                try:
                    sent = await client.send(*waiting.record.arguments, alone=waiting.alone)
                finally:
                    self._taking = None
        except _LASTING as error:
            self._settle(waiting, error)
        except FAILURES as error:
            self._failed(client, error)
        else:
            sent.add_done_callback(lambda future: self._answered(client, waiting, future))

    def _interrupt(self) -> None:
        """End the handing over of a record, which a client that has failed may never take."""
        taking, self._taking = self._taking, None
        if taking is not None:
            taking.reschedule(0.0)

    def _answered(
        self, client: AnyRecordProducer, waiting: _Unacknowledged, sent: asyncio.Future[Any]
    ) -> None:
        error = answer_to(sent)
        if isinstance(error, Position):
            self._attempts = 0
            self._settle(waiting, error)
            return
        if isinstance(error, ABOUT_ONE_RECORD) and not waiting.alone:
            waiting.alone = True  # all records of its batch share the refusal
        elif isinstance(error, _LASTING):
            self._settle(waiting, error)
            if not isinstance(error, ABOUT_ONE_RECORD):
                return
        # Behind a refusal, too, the numbers of an idempotent client have a gap.
        self._failed(client, error)

    def _settle(self, waiting: _Unacknowledged, result: Position | BaseException) -> None:
        if waiting not in self._waiting:
            return
        del self._waiting[waiting]
        self._bytes -= waiting.size
        self._progress.set()
        delivered = waiting.delivered
        if isinstance(result, Position):
            self.acknowledged += 1
            if not delivered.done():  # else whoever asked has cancelled it
                delivered.set_result(result)
            return
        text = f"a message to {waiting.record.topic} was not delivered: {describe_error(result)}"
        if not isinstance(result, _LASTING):
            text += ". Sending it again is safe: what is stored already is recognised"
        error = BrokersError(text)
        error.__cause__ = result
        if not waiting.watched or delivered.cancelled():
            self._undelivered = self._undelivered or error
        if not delivered.done():
            delivered.set_exception(error)
            ignore_result(delivered)  # nobody need ask

    def _set_timer(self) -> None:
        """Wake up when the first record is to be given up."""
        if self._waiting and self._timer is None:
            due = min(waiting.deadline for waiting in self._waiting)
            self._timer = asyncio.get_running_loop().call_at(due, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for waiting in [one for one in self._waiting if one.deadline <= now]:
            self._settle(waiting, self._failure or TimeoutError("no acknowledgement in time"))
        self._set_timer()

    def _failed(self, client: AnyRecordProducer | None, error: BaseException) -> None:
        """Have the client replaced, unless it has been already."""
        if self._closed or client is not self._client:
            return
        if client is not None and not self._has_failed:
            client.stop_sending()  # or what is queued behind would overtake
        drop_tracebacks(error)
        self._failure = self._failure or error
        self._interrupt()
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.ensure_future(self._replace())

    @property
    def _has_failed(self) -> bool:
        return self._failure is not None

    async def _replace(self) -> None:
        """Send what waits over a new client, until one takes all of it or nothing waits."""
        async with self._sending:
            while True:
                await self._discard(DISCARD_WAIT)
                if not self._waiting:
                    return
                self._attempts += 1
                await asyncio.sleep(_PAUSES.ceiling(self._attempts))
                try:
                    await self.connect()
                except FAILURES as error:
                    drop_tracebacks(error)
                    self._failure = error
                    continue
                for waiting in list(self._waiting):
                    await self._hand_over(waiting)
                    if self._has_failed:
                        break
                else:
                    return

    async def _discard(self, timeout: float) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.discard(timeout)
            # What was acknowledged meanwhile is told by callbacks, in the next turn of the loop.
            await asyncio.sleep(0)
