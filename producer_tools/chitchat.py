"""7,168 real conversations of the package ``chitchat-dataset``, as messages of the contract.

Both speakers are people; the first to speak is taken for the user and the other for the bot.
Times are the messages' own. The data set's ``start`` is local time marked as UTC, hours off
in most conversations, and is therefore not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from itertools import chain, islice
from typing import Any, Final
from uuid import UUID, uuid5

from consumer.errors import PreconditionError
from producer_tools.conversations import Message

_SOURCE: Final = "chitchat-dataset/0.9.0"


class DataSetMissingError(PreconditionError):
    """The package with the conversations is not installed."""


def chitchat_messages(limit: int | None = None) -> Iterator[Message]:
    """Yield the messages of the first ``limit`` conversations (None: all), one after another.

    Raises ``DataSetMissingError``.
    """
    for session_id, conversation in islice(_read().items(), limit):
        yield from _messages(session_id, conversation)


def _read() -> dict[str, dict[str, Any]]:
    """Return the data set. The package is not imported: its constructors leak a file."""
    try:
        text = (files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        raise DataSetMissingError(
            "the conversations are not installed: pip install 'conversation-consumer[demo]'"
        ) from None
    conversations: dict[str, dict[str, Any]] = json.loads(text)
    return conversations


def _messages(session_id: str, conversation: dict[str, Any]) -> Iterator[Message]:
    turns = list(chain.from_iterable(conversation["messages"]))
    first, last = turns[0], turns[-1]
    namespace = UUID(session_id)
    yield {
        "type": "session.created",
        "sessionId": session_id,
        "language": "en",
        "startedAt": first["timestamp"],
        "metadata": _metadata(conversation),
    }
    for index, turn in enumerate(turns):
        speaker = "user_speech" if turn["sender"] == first["sender"] else "bot_speech"
        payload = {"text": turn["text"], "speaker": turn["sender"]}
        # Some people said the same in the same second twice: only the place tells them apart.
        event_id = str(uuid5(namespace, str(index)))
        yield {
            "type": "event.recorded",
            "sessionId": session_id,
            "eventId": event_id,
            "eventType": speaker,
            "payload": payload,
            "timestamp": turn["timestamp"],
        }
    if conversation.get("ratings"):  # people rated what they had brought to its end
        yield {
            "type": "session.completed",
            "sessionId": session_id,
            "endedAt": last["timestamp"],
            "eventCount": len(turns),
        }


def _metadata(conversation: dict[str, Any]) -> dict[str, object]:
    prompt = conversation.get("prompt")
    return {"source": _SOURCE} if prompt is None else {"prompt": prompt, "source": _SOURCE}
