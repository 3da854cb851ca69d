"""From records to what they write, as the consumer plans it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from consumer.contract.decode import Decoded, decode
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Rejected
from consumer.state.retention import FOR_EVER, Retention
from consumer.state.writes import Write, plan


def writes_of(records: Iterable[Record], retention: Retention | None = None) -> list[Write]:
    """What records write that are all in order."""
    writes = []
    for record in records:
        decoded = decode(record, KeyPolicy.WARN)
        assert isinstance(decoded, Decoded)
        lifetime = retention.lifetime(record, datetime.now(UTC)) if retention else FOR_EVER
        write = plan(decoded.message, record, lifetime.expire_at)
        assert not isinstance(write, Rejected)
        writes.append(write)
    return writes
