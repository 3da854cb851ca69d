"""The real conversations, as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from consumer.contract.decode import Decoded, decode
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy
from producer_tools import chitchat
from producer_tools.chitchat import DataSetMissingError, chitchat_messages
from producer_tools.conversations import small_set
from producer_tools.outgoing_message import EndState, encode_message

installed = pytest.mark.skipif(
    find_spec("chitchat_dataset") is None, reason="chitchat-dataset is not installed"
)

INVENTED = {
    "11111111-1111-4111-8111-111111111111": {
        "messages": [
            [{"text": "hi", "timestamp": "2018-05-02T19:38:15Z", "sender": "a"}],
            [
                {"text": "ho", "timestamp": "2018-05-02T19:38:15Z", "sender": "b"},
                {"text": "ho", "timestamp": "2018-05-02T19:38:15Z", "sender": "b"},
            ],
            [{"text": "so", "timestamp": "2018-05-02T19:39:00Z", "sender": "a"}],
        ],
        "ratings": {"witty": 3},
        "start": "2018-05-03T01:38:15Z",
        "prompt": "a question",
    },
    "22222222-2222-4222-8222-222222222222": {
        "messages": [[{"text": "?", "timestamp": "2018-06-01T00:00:00Z", "sender": "c"}]],
        "start": "2018-06-01T06:00:00Z",
    },
}


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chitchat, "_read", lambda: INVENTED)


def of_first(messages: Iterator[Any]) -> list[Any]:
    return [message for message in messages if message["sessionId"].startswith("1111")]


@pytest.mark.usefixtures("invented")
def test_a_session_starts_with_its_first_message_whatever_the_data_set_calls_its_start() -> None:
    created = next(chitchat_messages())
    assert created == {
        "type": "session.created",
        "sessionId": "11111111-1111-4111-8111-111111111111",
        "language": "en",
        "startedAt": "2018-05-02T19:38:15Z",
        "metadata": {"prompt": "a question", "source": "chitchat-dataset/0.9.0"},
    }


@pytest.mark.usefixtures("invented")
def test_the_first_to_speak_is_the_user() -> None:
    events = of_first(chitchat_messages())[1:-1]
    assert [(event["payload"]["text"], event["eventType"]) for event in events] == [
        ("hi", "user_speech"),
        ("ho", "bot_speech"),
        ("ho", "bot_speech"),
        ("so", "user_speech"),
    ]


@pytest.mark.usefixtures("invented")
def test_the_same_words_in_the_same_second_are_two_events() -> None:
    events = of_first(chitchat_messages())[1:-1]
    assert len({event["eventId"] for event in events}) == 4


@pytest.mark.usefixtures("invented")
def test_event_ids_are_the_same_each_time() -> None:
    assert list(chitchat_messages()) == list(chitchat_messages())


@pytest.mark.usefixtures("invented")
def test_a_rated_conversation_is_completed_with_its_last_message() -> None:
    assert of_first(chitchat_messages())[-1] == {
        "type": "session.completed",
        "sessionId": "11111111-1111-4111-8111-111111111111",
        "endedAt": "2018-05-02T19:39:00Z",
        "eventCount": 4,
    }


@pytest.mark.usefixtures("invented")
def test_a_conversation_without_ratings_stays_open() -> None:
    assert [message["type"] for message in chitchat_messages()][-2:] == [
        "session.created",
        "event.recorded",
    ]


@pytest.mark.usefixtures("invented")
def test_a_limit_counts_conversations() -> None:
    assert len({message["sessionId"] for message in chitchat_messages(1)}) == 1


def test_a_missing_data_set_is_told_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise ModuleNotFoundError

    monkeypatch.setattr(chitchat, "files", missing)
    with pytest.raises(DataSetMissingError, match=r"^[^\n]*pip install [^\n]*\[demo\][^\n]*$"):
        next(chitchat_messages())


@installed
def test_the_whole_data_set_is_as_large_as_it_is_said_to_be() -> None:
    tally = EndState()
    for message in chitchat_messages():
        tally.add(message)
    end_state = tally.summary()
    assert (end_state["sessions"], end_state["events"]) == (7_168, 258_145)
    assert (end_state["completed"], end_state["open"]) == (5_988, 1_180)


@installed
def test_the_consumer_accepts_every_message_of_the_data_set() -> None:
    for message in chitchat_messages(150):
        outgoing = encode_message(message)
        record = Record("t", 0, 0, 0, outgoing.key, outgoing.value)
        assert isinstance(decode(record, KeyPolicy.DEAD_LETTER), Decoded), message["type"]


def test_the_stand_in_has_so_many_sessions_and_is_the_same_each_time() -> None:
    messages = list(small_set(3, 20))
    assert len({message["sessionId"] for message in messages}) == 20
    assert messages == list(small_set(3, 20))
    assert messages != list(small_set(4, 20))
