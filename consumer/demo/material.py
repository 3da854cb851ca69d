"""The conversations of the demo, ready to be published, and what must come of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

from consumer.demo.expectation import Document, Expectation
from producer_tools.chitchat import DataSetMissingError, chitchat_messages
from producer_tools.conversations import small_set
from producer_tools.outgoing import Outgoing, encode_message

_SEED = 1
_GOOD_LENGTHS = range(6, 13)


@dataclass(slots=True)
class Material:
    """Messages in the order they are published. ``shown``: the session to print at the end."""

    source: str
    messages: list[Outgoing] = field(default_factory=list)
    expected: Expectation = field(default_factory=Expectation)
    shown: str | None = None


def prepare(sessions: int | None) -> Material:
    """Return so many conversations (None: all): real ones where the data set is installed."""
    source, conversations = _conversations(sessions)
    material = Material(source)
    for session_id, of_session in groupby(conversations, key=lambda message: message["sessionId"]):
        messages = list(of_session)
        for message in messages:
            material.expected.add(message)
            material.messages.append(encode_message(message))
        if material.shown is None and _reads_well(messages):
            material.shown = session_id
    return material


def _conversations(sessions: int | None) -> tuple[str, Iterator[dict[str, Any]]]:
    real: Iterator[Any] = chitchat_messages(sessions)
    try:
        first = next(real)
    except DataSetMissingError:
        return "invented conversations", _invented(sessions)
    return "real conversations", chain((first,), real)


def _invented(sessions: int | None) -> Iterator[Any]:
    return small_set(_SEED, 1000 if sessions is None else sessions)


def _reads_well(messages: Iterable[Document]) -> bool:
    """Whether it is short, has an end and two speakers, and its times put it in order."""
    events = [message for message in messages if message["type"] == "event.recorded"]
    times = [event["timestamp"] for event in events]
    return (
        len(events) in _GOOD_LENGTHS
        and len(set(times)) == len(times)
        and {event["eventType"] for event in events} == {"user_speech", "bot_speech"}
        and any(message["type"] == "session.completed" for message in messages)
    )
