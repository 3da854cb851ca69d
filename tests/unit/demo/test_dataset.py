"""The demo runs with the conversations that can be had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.demo import dataset
from consumer.demo.dataset import load_dataset
from producer_tools.chitchat import DataSetMissingError


def test_without_the_data_set_conversations_are_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: int | None) -> Iterator[object]:
        yield from ()
        raise DataSetMissingError

    monkeypatch.setattr(dataset, "chitchat_messages", missing)
    prepared = load_dataset(40)
    assert prepared.source == "invented conversations"
    assert prepared.expected.session_count == 40
    assert len(prepared.expected.events) < len(prepared.messages)


def test_the_session_to_show_is_short_complete_and_a_dialogue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def one_sided_then_good(_: int | None) -> Iterator[object]:
        for session_id, speakers, seconds in (
            ("alone", "u" * 8, range(8)),
            ("short", "ub", range(2)),
            ("at once", "ubububu", [0] * 7),
            ("good", "ubububu", range(7)),
        ):
            yield {
                "type": "session.created",
                "sessionId": session_id,
                "language": "en",
                "startedAt": "2026-01-01T12:00:00Z",
                "metadata": {},
            }
            for second, speaker in zip(seconds, speakers, strict=True):
                yield {
                    "type": "event.recorded",
                    "sessionId": session_id,
                    "eventId": f"{second}{speaker}",
                    "eventType": "user_speech" if speaker == "u" else "bot_speech",
                    "payload": {},
                    "timestamp": f"2026-01-01T12:00:0{second}Z",
                }
            yield {
                "type": "session.completed",
                "sessionId": session_id,
                "endedAt": "2026-01-01T12:00:09Z",
            }

    monkeypatch.setattr(dataset, "chitchat_messages", one_sided_then_good)
    assert load_dataset(4).shown == "good"
