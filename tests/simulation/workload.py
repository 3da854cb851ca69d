"""What producers send: few sessions, much said twice, some of it contradicting, some of it bad.

Some of it in transactions, and some with headers that weigh more than what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from consumer.contract.record import Position, Record, TopicPartition
from consumer.contract.rejection import Reason
from tests import builders, own_kinds
from tests.fakes.broker import Broker, Log
from tests.model import Sent
from tests.simulation.store import REFUSED_MARK

SayOwn = Callable[[Random, str], dict[str, Any]]

Slot = tuple[TopicPartition, int, int]
"""A partition, the number of its log, an offset."""

BAD_RECORDS: tuple[tuple[bytes, Reason], ...] = (
    (b"[object Object]", Reason.UNDECODABLE),
    (b'{"type":"session.archived","sessionId":"s0"}', Reason.UNSUPPORTED_TYPE),
    (b'{"type":"session.created","sessionId":"s0"}', Reason.INVALID),
    (b'{"type":"session.created","sessionId":"s0","schemaVersion":2}', Reason.UNSUPPORTED_VERSION),
    (
        (
            b'{"type":"event.recorded","sessionId":"s0","eventId":"e","eventType":"system",'
            b'"payload":{"n":18446744073709551616}}'
        ),
        Reason.UNSTORABLE,
    ),
)

HEADER_BYTES = (*[0] * 8, 10, 200, 3000)


class Workload:
    """Appends records to the logs and remembers what each one says."""

    def __init__(self, broker: Broker, chance: Random, *, sessions: int) -> None:
        self.say_own: SayOwn | None = None
        """What makes every second message, of a kind that is not of the contract."""
        self._broker = broker
        self._chance = chance
        self._sessions = [f"s{number}" for number in range(sessions)]
        self._said: list[dict[str, Any]] = []
        self.sent: dict[Slot, Sent] = {}
        self.records: dict[Slot, Record] = {}

    def produce(self, records: int) -> None:
        """Send so many records."""
        if self._broker.away:
            return  # a topic is not there
        for _ in range(records):
            self._produce_one()
        self._broker.changed()

    def fill(self, topic: str) -> None:
        """Send to each log of a topic about as many records as the last logs had, or more."""
        for partition, log in self._broker.logs.items():
            before = [slot[2] for slot in self.sent if slot[:2] == (partition, log.number - 1)]
            if partition.topic == topic and before:
                for _ in range(max(before) + self._chance.randint(-2, 4)):
                    self._produce_one(log)
        self._broker.changed()

    def transact(self, records: int) -> Callable[[], None]:
        """Send so many records in a transaction; return what ends it, one way or the other."""
        log = self._any_log()
        if log.open_from is not None or self._broker.away:
            return lambda: None
        log.open_from = first = log.end
        for _ in range(records):
            self._produce_one(log)
        offsets = range(first, log.end)

        def end() -> None:
            log.open_from = None
            log.leave_hole()
            if self._chance.random() < 0.6:
                log.abort(offsets)
                for offset in offsets:
                    self.sent.pop((log.partition, log.number, offset), None)
            self._broker.changed()

        return end

    def _produce_one(self, into: Log | None = None) -> None:
        chance = self._chance
        draw = chance.random()
        if draw < 0.05:
            value, reason = chance.choice(BAD_RECORDS)
            self._append(into or self._any_log(), value, b"s0", reason)
            return
        if draw < 0.08:
            self._append(into or self._any_log(), None, b"s0", None)
            return
        if draw < 0.12:
            (into or self._any_log()).leave_hole(chance.randint(1, 3))
            return
        message = chance.choice(self._said) if self._said and draw < 0.35 else self._say()
        log = into or self._log_of(message)
        key = str(message["sessionId"]).encode()
        self._append(log, builders.encoded(message), key, own_kinds.meaning(message))

    def _say(self) -> dict[str, Any]:
        chance = self._chance
        if self.say_own is not None and chance.random() < 0.5:
            own = self.say_own(chance, chance.choice(self._sessions))
            self._said.append(own)
            return own
        session_id, draw = chance.choice(self._sessions), chance.random()
        time = builders.SPOKEN if chance.random() < 0.8 else None
        if draw < 0.6:
            text = "hello" if chance.random() < 0.7 else chance.choice(("good bye", REFUSED_MARK))
            message = builders.event(
                session_id, f"e{chance.randrange(8)}", payload={"text": text}, timestamp=time
            )
        elif draw < 0.8:
            language = "en" if chance.random() < 0.8 else "fr"
            message = builders.created(session_id, language=language, startedAt=time)
        elif draw < 0.92:
            count = chance.choice((None, 3))
            message = builders.completed(session_id, eventCount=count, endedAt=time)
        else:
            message = builders.failed(session_id, reason="dropped", endedAt=time)
        self._said.append(message)
        return message

    def _log_of(self, message: dict[str, Any]) -> Log:
        """Return the log of the message's session, at times a wrong one."""
        if self._chance.random() < 0.05:
            return self._any_log()
        topic = builders.EVENTS if message["type"] == "event.recorded" else builders.SESSIONS
        logs = [log for log in self._broker.logs.values() if log.partition.topic == topic]
        return logs[self._sessions.index(message["sessionId"]) % len(logs)]

    def _any_log(self) -> Log:
        return self._chance.choice(list(self._broker.logs.values()))

    def _append(
        self, log: Log, value: bytes | None, key: bytes, says: dict[str, Any] | Reason | None
    ) -> None:
        stamp = builders.STAMPED_MS + len(self.sent)
        weight = self._chance.choice(HEADER_BYTES)
        headers = (("trace", b"t" * weight),) if weight else ()
        record = log.append(value, key, stamp, headers)
        self.records[log.partition, log.number, record.offset] = record
        refused = isinstance(says, dict) and REFUSED_MARK in str(says.get("payload"))
        self.sent[log.partition, log.number, record.offset] = Sent(
            Position(record.topic, record.partition, record.offset),
            stamp,
            says,
            log=log.number,
            refused=refused,
        )

    def may_be_lost(self, slot: Slot) -> None:
        """Note that the record may have been deleted before anybody read it."""
        self.sent[slot] = replace(self.sent[slot], surely_read=False)
