"""Where messages are published."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.settings import KafkaSettings
from producer_tools.outgoing import Topics


@dataclass(frozen=True, slots=True)
class Target:
    """The brokers, the two topics, and the largest message they take."""

    kafka: KafkaSettings
    topics: Topics = field(default_factory=Topics)
    max_message_bytes: int = 1024 * 1024
    idempotent: bool = True
    """A wish: brokers that cannot serve it are written to without."""
