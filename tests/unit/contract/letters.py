"""Dead letters with everything filled in that a test does not speak of."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from consumer.contract import dead_letter as names
from consumer.contract.dead_letter import DeadLetter, dead_letter, serialized_size, truncate
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import Reason, Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP

MIB = 2**20
FAILED_AT = datetime(2026, 3, 4, 11, 0, 0, 123_456, timezone(timedelta(hours=1)))
REJECTED = Rejected(Reason.INVALID, "sessionId: missing")


def record(
    value: bytes | None = b"value",
    *,
    key: bytes | None = b"key",
    headers: Headers = (),
    timestamp_ms: int = 1772618400000,
) -> Record:
    return Record("conversation.events", 3, 42, timestamp_ms, key, value, headers)


def letter_of(record: Record, rejected: Rejected = REJECTED, *, max_bytes: int = MIB) -> DeadLetter:
    whole = dead_letter(
        record,
        rejected,
        group="conversation-consumer",
        failed_at=FAILED_AT,
        consumer_version="1.2.3",
    )
    return truncate(whole, max_bytes)


def own(letter: DeadLetter) -> dict[str, bytes | None]:
    """The headers of ours; fails where one stands twice."""
    ours = [header for header in letter.headers if header[0].startswith("dlq-")]
    assert max(Counter(name for name, _ in ours).values()) == 1
    return dict(ours)


def foreign(letter: DeadLetter) -> Headers:
    return tuple(header for header in letter.headers if not header[0].startswith("dlq-"))


def size(letter: DeadLetter) -> int:
    return serialized_size(letter.key, letter.value, letter.headers)


headers = st.lists(
    st.tuples(
        st.sampled_from([*sorted(names.NAMES), REDRIVE_TIMESTAMP, "content-type", "dlq-other"])
        | st.text(st.characters(), max_size=5),
        st.none() | st.binary(max_size=300) | st.sampled_from([b"1", b"value", b"0" * 64]),
    ),
    max_size=40,
).map(tuple)
rejections = st.builds(Rejected, st.sampled_from(Reason), st.text(max_size=600))
bodies = st.none() | st.binary(max_size=3000)
letters = st.builds(
    lambda value, key, headers, rejected: (
        record(value, key=key, headers=headers),
        letter_of(record(value, key=key, headers=headers), rejected, max_bytes=10 * MIB),
    ),
    bodies,
    bodies,
    headers,
    rejections,
)
