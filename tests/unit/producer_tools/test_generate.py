"""Made-up messages: repeatable, with the faults that were asked for and no others."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from consumer.contract.decode import Decoded, decode
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Rejected
from producer_tools.generate import FLAWS, GenerationPlan, generate_messages, spoil
from producer_tools.outgoing_message import EndState, Outgoing, Stream, encode_message

CLEAN = GenerationPlan(seed=7, sessions=120, events_per_session=8)
FAULTY = replace(CLEAN, duplicates=0.1, disorder=0.3, window=20, malformed=0.1)


def generated(plan: GenerationPlan) -> list[Outgoing]:
    return list(generate_messages(plan, EndState()))


def read(outgoing: Outgoing) -> Decoded | Rejected:
    decoded = decode(Record("t", 0, 0, 0, outgoing.key, outgoing.value), KeyPolicy.DEAD_LETTER)
    assert isinstance(decoded, Decoded | Rejected)
    return decoded


def good(outgoing: list[Outgoing]) -> list[Outgoing]:
    return [each for each in outgoing if isinstance(read(each), Decoded)]


def test_the_same_plan_makes_the_same_bytes() -> None:
    assert generated(FAULTY) == generated(FAULTY)


def test_another_seed_makes_other_messages() -> None:
    values = {outgoing.value for outgoing in generated(CLEAN)}
    others = {outgoing.value for outgoing in generated(replace(CLEAN, seed=8))}
    assert not values & others


def test_faults_are_laid_over_the_same_conversations() -> None:
    clean, faulty = generated(CLEAN), good(generated(FAULTY))
    assert len(faulty) > len(clean)
    assert set(faulty) == set(clean)


def test_asking_for_one_fault_more_leaves_the_others_where_they_were() -> None:
    without = generated(replace(FAULTY, malformed=0.0))
    assert good(generated(FAULTY)) == without


def test_every_good_message_is_one_that_the_consumer_accepts_under_its_key() -> None:
    for outgoing in generated(CLEAN):
        decoded = read(outgoing)
        assert isinstance(decoded, Decoded), decoded
        assert not decoded.key_mismatch


def test_a_session_is_created_before_its_events_and_ends_after_them() -> None:
    kinds: dict[bytes, list[str]] = {}
    for outgoing in generated(CLEAN):
        kinds.setdefault(outgoing.key, []).append(json.loads(outgoing.value)["type"])
    for of_session in kinds.values():
        assert of_session[0] == "session.created"
        assert set(of_session[1:-1]) <= {"event.recorded"}


def test_session_messages_and_events_go_to_streams_of_their_own() -> None:
    for outgoing in generated(CLEAN):
        is_event = json.loads(outgoing.value)["type"] == "event.recorded"
        assert outgoing.stream is (Stream.EVENTS if is_event else Stream.SESSIONS)


def test_no_message_moves_further_than_the_window() -> None:
    places = {outgoing: place for place, outgoing in enumerate(generated(CLEAN))}
    moved = generated(replace(CLEAN, disorder=0.5, window=10))
    distances = [abs(place - places[outgoing]) for place, outgoing in enumerate(moved)]
    assert 0 < max(distances) <= 10


def test_a_duplicate_comes_after_the_message_it_repeats() -> None:
    repeated = Counter(generated(replace(CLEAN, duplicates=0.2)))
    assert set(repeated.values()) == {1, 2}


@pytest.mark.parametrize(
    "fault",
    [GenerationPlan(duplicates=0.2), GenerationPlan(malformed=0.2)],
    ids=["duplicates", "malformed"],
)
def test_about_the_share_that_was_asked_for_is_faulty(fault: GenerationPlan) -> None:
    clean = len(generated(replace(fault, sessions=1000, duplicates=0, malformed=0)))
    faulty = len(generated(replace(fault, sessions=1000)))
    assert 0.18 < (faulty - clean) / clean < 0.22


def test_the_end_state_is_what_the_messages_say() -> None:
    tally = EndState()
    everything = list(generate_messages(FAULTY, tally))
    distinct = {outgoing.value: json.loads(outgoing.value) for outgoing in good(everything)}
    kinds = Counter(message["type"] for message in distinct.values())
    reasons = Counter(
        rejected.reason.value
        for rejected in map(read, everything)
        if isinstance(rejected, Rejected)
    )
    ended = kinds["session.completed"] + kinds["session.failed"]
    assert tally.summary() == {
        "records": len(everything),
        "sessions": 120,
        "events": kinds["event.recorded"],
        "completed": kinds["session.completed"],
        "failed": kinds["session.failed"],
        "open": 120 - ended,
        "duplicates": len(good(everything)) - len(distinct),
        "malformed": reasons.total(),
        "dead_letters": dict(sorted(reasons.items())),
    }


@pytest.mark.parametrize(
    ("reason", "flaw"), FLAWS, ids=lambda value: getattr(value, "__name__", value)
)
def test_each_flaw_is_refused_for_its_reason(reason: str, flaw: object) -> None:
    messages = [json.loads(outgoing.value) for outgoing in generated(CLEAN)]
    kinds = {message["type"]: message for message in messages}
    for message in kinds.values():
        assert callable(flaw)
        decoded = read(encode_message(message)._replace(value=flaw(message)))
        assert isinstance(decoded, Rejected)
        assert decoded.reason == reason


def test_a_malformed_message_fits_into_one_line(rng: Random) -> None:
    message = json.loads(generated(CLEAN)[0].value)
    for _ in range(200):
        _, outgoing = spoil(rng, message)
        assert outgoing.value.strip()
        assert b"\n" not in outgoing.value


def test_generating_needs_no_more_memory_for_more_sessions() -> None:
    endless = replace(FAULTY, sessions=10**12)
    assert len(list(islice(generate_messages(endless, EndState()), 1000))) == 1000


def test_sessions_without_events_can_be_asked_for() -> None:
    tally = EndState()
    list(generate_messages(replace(CLEAN, events_per_session=0), tally))
    assert tally.summary()["events"] == 0
