"""Messages as Hypothesis draws them: few ids, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from consumer.contract.record import Position, Record
from tests import builders
from tests.model import Sent

Message = dict[str, Any]

sessions = st.sampled_from(["s0", "s1"])
times = st.sampled_from(
    [None, "2026-03-04T10:05:01.250Z", "2026-03-04T11:05:01.2509+01:00", "2026-03-04T10:07:00Z"]
)
values = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 0.0, 1e2, 100, "", "text", 2**40]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "b", "$ref", "x.y", "_id"]), inner, max_size=2)
    ),
    max_leaves=4,
)
payloads = st.dictionaries(st.sampled_from(["text", "n", "$id"]), values, max_size=2)

events = st.builds(
    builders.event,
    sessions,
    st.sampled_from(["e0", "e1"]),
    eventType=st.sampled_from(["user_speech", "system"]),
    payload=payloads,
    timestamp=times,
)
creations = st.builds(
    builders.created,
    sessions,
    language=st.sampled_from(["en", "fr"]),
    metadata=st.none() | payloads,
    startedAt=times,
)
completions = st.builds(
    builders.completed, sessions, endedAt=times, eventCount=st.sampled_from([None, 0, 7])
)
failures = st.builds(
    builders.failed, sessions, endedAt=times, reason=st.sampled_from([None, "dropped"])
)

messages = st.lists(events | creations | completions | failures, min_size=1, max_size=8)


def delivered(message: Message, offset: int, partition: int = 0) -> tuple[Record, Sent]:
    """The message as one record of the log, and what its producer knows of it."""
    topic = builders.EVENTS if message["type"] == "event.recorded" else builders.SESSIONS
    stamp = builders.STAMPED_MS + offset
    record = builders.record(message, offset, topic=topic, partition=partition, timestamp_ms=stamp)
    return record, Sent(Position(topic, partition, offset), stamp, message)
