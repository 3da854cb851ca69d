"""A record that can never be applied costs the others nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from consumer import __version__
from consumer.contract.record import Record
from consumer.contract.rejection import Reason
from consumer.contract.times import parse_time
from tests.builders import event
from tests.e2e.bookkeeping import coverage_problems, repeated, settled_spans
from tests.e2e.environment import BY_KEY, NOW, Environment, reasons_of
from tests.e2e.processes import Fleet
from tests.model import Document, Sent, problems

RECORDS = 1000
PLACE = 617
FOREIGN = (
    ("traceparent", b"00-11111111111111111111111111111111-2222222222222222-01"),
    ("traceparent", b"once more"),
    ("nothing", None),
    ("empty", b""),
    ("bytes", b"\xff\x00\xfe"),
    ("dlq-reason", b"not what its sender says"),
)
VALUE = b'{"type":"event.recorded","sessionId":"s-17","eventId":'


@pytest.mark.real_kafka
async def test_of_a_thousand_records_one_is_dead_lettered_with_its_headers_and_999_are_applied_once(
    environment: Environment, fleet: Fleet
) -> None:
    messages = [event(f"s-{n % 50}", f"e-{n}", payload={"n": n}) for n in range(RECORDS)]
    records = [environment.record_of(message) for message in messages]
    records[PLACE] = Record(environment.events, BY_KEY, 0, NOW, b"s-17", VALUE, FOREIGN)
    acknowledged = await environment.send(records)
    service = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(service) == 0

    (letter,) = await environment.dead_letters()
    assert (letter.key, letter.value) == (b"s-17", VALUE)
    assert letter.headers[: len(FOREIGN) - 1] == FOREIGN[:-1]
    own = dict(letter.headers[len(FOREIGN) - 1 :])
    position, timestamp_ms = acknowledged[PLACE]
    assert parse_time((own.pop("dlq-failed-at") or b"").decode()) is not None
    assert own.pop("dlq-detail")
    assert own == {
        "dlq-reason": b"undecodable",
        "dlq-topic": environment.events.encode(),
        "dlq-partition": str(position.partition).encode(),
        "dlq-offset": str(position.offset).encode(),
        "dlq-timestamp": str(timestamp_ms).encode(),
        "dlq-group": environment.name.encode(),
        "dlq-attempt": b"1",
        "dlq-consumer-version": __version__.encode(),
    }
    assert len(letter.headers) == len(FOREIGN) - 1 + len(own) + 2

    says: list[Document | Reason] = [*messages[:PLACE], Reason.UNDECODABLE, *messages[PLACE + 1 :]]
    sent = [Sent(*place, one) for place, one in zip(acknowledged, says, strict=True)]
    assert problems(sent, *await environment.documents(), reasons_of([letter])) == []
    assert service.outcomes() == Counter(applied=RECORDS - 1, dead_lettered=1)
    spans = settled_spans([service])
    ends = await environment.ends(environment.events)
    assert (coverage_problems(spans, ends), repeated(spans)) == ([], 0)
    assert await environment.lag() == 0
