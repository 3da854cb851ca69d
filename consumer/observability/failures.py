"""Tracebacks for the log: where it happened, and of the message only what quotes no data."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from consumer.errors import ConsumerError

WITHHELD = "(message withheld: it may quote data)"
MOST_FRAMES = 30
MOST_LINKS = 5


def describe_failure(error: BaseException) -> str:
    """The chain of exceptions that led to ``error``, the first cause first, with their frames."""
    return "\n".join("\n".join(_describe(link)) for link in reversed(list(_chain(error))))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(MOST_LINKS):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _describe(error: BaseException) -> Iterator[str]:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{kind}: {str(error) if _quotes_no_data(error) else WITHHELD}"
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    for frame in frames:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"


def _quotes_no_data(error: BaseException) -> bool:
    """Our own errors quote none by contract, the system's and the Kafka client's by nature.

    A driver of the database quotes the keys of documents, and a ValueError of anyone its value.
    """
    ours = isinstance(error, ConsumerError)
    of_the_system = isinstance(error, OSError)
    of_the_kafka_client = type(error).__module__.partition(".")[0] == "aiokafka"
    return ours or of_the_system or of_the_kafka_client
