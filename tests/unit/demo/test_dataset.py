"""The demo runs with the conversations that can be had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest

from consumer.demo import dataset
from consumer.demo.dataset import Expectation, fingerprint, load_dataset
from producer_tools.chitchat import DataSetMissingError
from producer_tools.conversations import small_set


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


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVENT = {
    "_id": 1,
    "sessionId": "s",
    "eventId": "e",
    "type": "system",
    "payload": {"a": 1, "b": [1.5, None, True, "é"]},
    "timestamp": NOON,
    "from": {"topic": "t", "partition": 0, "offset": 7},
}


def expectation(messages: Sequence[Mapping[str, object]]) -> Expectation:
    made = Expectation()
    for message in messages:
        made.add(message)
    return made


def messages() -> list[Mapping[str, object]]:
    return list(small_set(1, 30, 4))


def test_where_a_document_came_from_does_not_count() -> None:
    moved = {**EVENT, "_id": 2, "from": {"topic": "u", "partition": 3, "offset": 9}}
    assert fingerprint(moved) == fingerprint(EVENT)


def test_the_order_of_a_documents_own_fields_does_not_count() -> None:
    assert fingerprint(dict(reversed(EVENT.items()))) == fingerprint(EVENT)


def test_the_same_instant_in_another_zone_is_the_same() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert fingerprint({**EVENT, "timestamp": elsewhere}) == fingerprint(EVENT)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"b": [1.5, None, True, "é"], "a": 1}},
        {"payload": {"a": 1.0, "b": [1.5, None, True, "é"]}},
        {"payload": {"a": True, "b": [1.5, None, True, "é"]}},
        {"payload": {"a": 1, "b": [1.5, None, True, "e\u0301"]}},
        {"timestamp": NOON + timedelta(milliseconds=1)},
        {"type": "user_speech"},
        {"eventId": "E"},
        {"note": None},
    ],
    ids=str,
)
def test_everything_that_was_said_counts(change: dict[str, object]) -> None:
    assert fingerprint({**EVENT, **change}) != fingerprint(EVENT)


def test_the_order_of_messages_does_not_matter(rng: Random) -> None:
    in_order = messages()
    shuffled = rng.sample(in_order, len(in_order))
    first, second = expectation(in_order), expectation(shuffled)
    assert first.sessions() == second.sessions()
    assert first.events == second.events
    assert first.completed == second.completed


def test_a_session_is_expected_as_it_is_stored() -> None:
    made = expectation(
        [
            {
                "type": "session.created",
                "sessionId": "s",
                "language": "en",
                "startedAt": "2026-01-01T12:00:00Z",
                "metadata": {"k": 1},
            },
            {
                "type": "session.completed",
                "sessionId": "s",
                "endedAt": "2026-01-01T13:00:00+01:00",
                "eventCount": 0,
            },
        ]
    )
    stored = {
        "_id": 5,
        "sessionId": "s",
        "status": "completed",
        "language": "en",
        "metadata": {"k": 1},
        "startedAt": NOON,
        "endedAt": NOON,
        "eventCount": 0,
        "createdFrom": {"topic": "t", "partition": 0, "offset": 1},
    }
    assert made.sessions() == {"s": fingerprint(stored)}
    assert (made.session_count, made.completed) == (1, 1)


def test_an_event_makes_a_session_active_and_an_end_stays() -> None:
    event = {
        "type": "event.recorded",
        "sessionId": "s",
        "eventId": "e",
        "eventType": "system",
        "payload": {},
        "timestamp": "2026-01-01T12:00:00Z",
    }
    end = {"type": "session.failed", "sessionId": "s", "endedAt": "2026-01-01T12:00:00Z"}
    failed = {"sessionId": "s", "status": "failed", "endedAt": NOON}
    assert expectation([event]).sessions() == {
        "s": fingerprint({"sessionId": "s", "status": "active"})
    }
    assert expectation([event, end]).sessions() == {"s": fingerprint(failed)}
    assert expectation([end, event]).sessions() == {"s": fingerprint(failed)}
