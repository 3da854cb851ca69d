"""``python -m benchmarks.planning``: what decoding and planning cost, in a loop of their own.

CPU microseconds a record, the least of many rounds: on a shared machine that is what repeats.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy
from consumer.engine.pipeline import RecordPlanner
from consumer.state.retention import Retention

ROUNDS = 200
RECORDS = 300
NOW = datetime(2026, 3, 5, tzinfo=UTC)
STAMPED_MS = 1_772_618_400_000
SESSION_ID = "conversation-0001"

EVENT: Mapping[str, object] = {
    "type": "event.recorded",
    "sessionId": SESSION_ID,
    "eventId": "e-000123",
    "eventType": "user_speech",
    "payload": {
        "text": "I would like to know when my order arrives; it was promised for Monday. " * 2,
        "confidence": 0.93,
        "language": "en",
        "words": 28,
    },
    "timestamp": "2026-03-04T10:00:05.250Z",
}
CREATED: Mapping[str, object] = {
    "type": "session.created",
    "sessionId": SESSION_ID,
    "language": "en",
    "startedAt": "2026-03-04T10:00:00Z",
    "metadata": {"channel": "phone", "queue": 7},
}
COMPLETED: Mapping[str, object] = {
    "type": "session.completed",
    "sessionId": SESSION_ID,
    "endedAt": "2026-03-04T10:10:00Z",
    "eventCount": 36,
}
TRACED: Headers = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
CLOUD_EVENT: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"com.example.event.recorded.v1"),
    ("ce_source", b"/voice/gateway"),
    ("ce_id", b"ce-1"),
)


def record(value: Mapping[str, object], headers: Headers = ()) -> Record:
    """Return a record as it comes from the client."""
    encoded = json.dumps(value, separators=(",", ":")).encode()
    return Record(
        "conversation.events", 3, 123_456, STAMPED_MS, SESSION_ID.encode(), encoded, headers
    )


def least(step: Callable[[], object]) -> float:
    """Return the CPU microseconds of one step, the least of all rounds."""
    seconds = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(RECORDS):
            step()
        seconds = min(seconds, time.process_time() - begun)
    return seconds / RECORDS * 1e6


def main() -> None:
    """Print a line for each shape of a record."""
    planner = RecordPlanner(KeyPolicy.WARN, None, lambda: NOW)
    keeping = RecordPlanner(KeyPolicy.WARN, Retention(timedelta(days=30)), lambda: NOW)
    untimed = {name: value for name, value in EVENT.items() if name != "timestamp"}
    bare = {name: value for name, value in EVENT.items() if name != "type"}
    long = {**EVENT, "payload": {"text": "x" * 50_000}}
    shapes = {
        "event": (planner, record(EVENT)),
        "event with a tracing header": (planner, record(EVENT, TRACED)),
        "event without a time": (planner, record(untimed)),
        "event that expires": (keeping, record(EVENT)),
        "event of 50 KB": (planner, record(long)),
        "event in a CloudEvent": (planner, record(bare, CLOUD_EVENT)),
        "event with another key": (planner, record(EVENT)._replace(key=b"k")),
        "session.created": (planner, record(CREATED)),
        "session.completed": (planner, record(COMPLETED)),
    }
    for name, (plan, one) in shapes.items():
        cpu = least(lambda plan=plan, one=one: plan(one))  # type: ignore[misc]  # bound at once
        print(f"{name:32} {cpu:6.2f} us")


if __name__ == "__main__":
    main()
