"""Generated and real conversations, published as they were counted."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from producer_tools.generate import GenerationPlan, generate_messages
from producer_tools.outgoing_message import EndState, Stream
from tests.integration.producer_tools.conftest import Topics

FAULTY = ["--sessions=30", "--duplicates=0.1", "--disorder=0.2", "--malformed=0.1", "--seed=5"]


def test_generated_messages_arrive_whole_the_malformed_ones_too(topics: Topics) -> None:
    tally = EndState()
    plan = GenerationPlan(seed=5, sessions=30, duplicates=0.1, disorder=0.2, malformed=0.1)
    expected = list(generate_messages(plan, tally))
    ran = topics.run("generate", *FAULTY, "--to=kafka", "--json")
    assert ran.code == 0
    assert ran.result["published"] == len(expected)
    assert json.loads(ran.err.splitlines()[-1]) == tally.summary()
    for stream, topic in (
        (Stream.SESSIONS, topics.sessions),
        (Stream.EVENTS, topics.events),
    ):
        values = sorted(outgoing.value for outgoing in expected if outgoing.stream is stream)
        assert sorted(record.value for record in topics.read(topic, len(values))) == values


@pytest.mark.skipif(find_spec("chitchat_dataset") is None, reason="the data set is not installed")
def test_real_conversations_arrive_in_their_order(topics: Topics) -> None:
    ran = topics.run("load", "chitchat", "--limit=5", "--json")
    assert ran.code == 0
    assert ran.result["sessions"] == 5
    records = topics.read(topics.events, ran.result["events"])
    assert len(records) == ran.result["events"]
    times: dict[bytes, list[str]] = {}
    for record in records:
        times.setdefault(record.key, []).append(json.loads(record.value)["timestamp"])
    assert all(of_session == sorted(of_session) for of_session in times.values())
