"""What aiokafka raises, turned into our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import IllegalStateError, KafkaError

from consumer.errors import TransientError


@contextmanager
def kafka_errors(action: str) -> Iterator[None]:
    """Raise ``TransientError`` for whatever an exchange with the brokers may end with."""
    try:
        yield
    except (
        KafkaError,
        IllegalStateError,
        ValueError,
        AssertionError,
        OSError,
        TimeoutError,
    ) as error:
        raise TransientError(type(error).__name__, f"{action} failed") from error
