"""How a dead letter is cut that is too large."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract import dead_letter as names
from consumer.contract.dead_letter import (
    DeadLetter,
    Part,
    Truncation,
    min_dead_letter_bytes,
    truncate,
    truncation_of,
)
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import Reason, Rejected
from tests.unit.contract.letters import MIB, foreign, letter_of, letters, own, record, size


def test_a_letter_that_fits_is_not_cut() -> None:
    letter = letter_of(record(b"v" * 1000))
    assert truncate(letter, size(letter)) is letter
    assert own(truncate(letter, size(letter) - 1))["dlq-truncated"] == b"value"


def test_of_a_large_value_the_beginning_goes_with_its_size_and_digest() -> None:
    value = bytes(range(256)) * 8192
    letter = letter_of(record(value, headers=(("a", b"1"), ("b", None))))
    assert letter.key == b"key"
    assert letter.value is not None
    assert value.startswith(letter.value)
    assert len(letter.value) > MIB - 2048
    assert size(letter) <= MIB
    assert foreign(letter) == (("a", b"1"), ("b", None))
    assert own(letter)["dlq-truncated"] == b"value"
    assert own(letter)["dlq-size"] == str(len(value)).encode()
    assert own(letter)["dlq-sha256"] == sha256(value).hexdigest().encode()
    assert own(letter).items() >= own(letter_of(record())).items()


def test_a_large_key_is_cut_and_the_value_stays() -> None:
    letter = letter_of(record(key=b"k" * MIB))
    assert letter.key is not None
    assert MIB - 2048 < len(letter.key) < MIB
    assert letter.value == b"value"
    assert own(letter)["dlq-truncated"] == b"key"
    assert own(letter)["dlq-size"] == b"5"
    assert size(letter) <= MIB


def test_of_too_many_headers_the_first_ones_go() -> None:
    headers: Headers = tuple((f"header-{n}", b"x" * 90) for n in range(10_000))
    letter = letter_of(record(headers=headers))
    kept = foreign(letter)
    assert 9_000 < len(kept) < 10_000
    assert kept == headers[: len(kept)]
    assert (letter.key, letter.value) == (b"key", b"value")
    assert own(letter)["dlq-truncated"] == b"headers"
    assert size(letter) <= MIB


def test_where_everything_is_large_everything_has_its_share() -> None:
    headers: Headers = tuple((f"header-{n}", b"x" * 90) for n in range(10_000))
    letter = letter_of(record(b"v" * MIB, key=b"k" * MIB, headers=headers))
    share = MIB // 3 - 2048
    assert len(letter.key or b"") > share
    assert len(letter.value or b"") > share
    assert len(foreign(letter)) > 3_000
    assert own(letter)["dlq-truncated"] == b"key,value,headers"
    assert size(letter) <= MIB


def test_null_stays_null_when_the_rest_is_cut() -> None:
    headers: Headers = tuple((f"header-{n}", b"x" * 90) for n in range(100))
    letter = letter_of(record(None, key=None, headers=headers), max_bytes=2048)
    assert (letter.key, letter.value) == (None, None)
    assert own(letter)["dlq-size"] == b"0"
    assert own(letter)["dlq-sha256"] == sha256(b"").hexdigest().encode()


def test_a_letter_cut_again_still_tells_of_the_original() -> None:
    value = b"v" * (2 * MIB)
    once = letter_of(record(value, key=b"k" * 5000))
    twice = truncate(once, 4096)
    assert size(twice) <= 4096
    assert len(twice.value or b"") < len(once.value or b"")
    assert own(twice)["dlq-truncated"] == b"key,value"
    assert own(twice)["dlq-size"] == str(len(value)).encode()
    assert own(twice)["dlq-sha256"] == sha256(value).hexdigest().encode()
    assert twice.origin == once.origin


def test_a_cut_letter_that_someone_copies_back_still_says_that_it_was_cut() -> None:
    cut = letter_of(record(b"v" * (2 * MIB)))
    copied = Record("conversation.events", 3, 99, -1, cut.key, cut.value, cut.headers)
    again = letter_of(copied)
    assert truncation_of(again.headers) == truncation_of(cut.headers)
    assert own(again)["dlq-attempt"] == b"2"
    assert size(again) <= MIB


def test_less_than_our_own_headers_take_cannot_be_had() -> None:
    letter = letter_of(record(headers=(("a", b"1"),)), max_bytes=0)
    assert (letter.key, letter.value, foreign(letter)) == (b"", b"", ())
    assert own(letter).items() >= own(letter_of(record())).items()


@given(letters, st.integers(2048, 10_000))
def test_a_cut_letter_fits_and_holds_beginnings(
    pair: tuple[Record, DeadLetter], max_bytes: int
) -> None:
    came, letter = pair
    cut = truncate(letter, max_bytes)
    assert size(cut) <= max_bytes
    assert (cut.key is None, cut.value is None) == (came.key is None, came.value is None)
    assert (came.key or b"").startswith(cut.key or b"")
    assert (came.value or b"").startswith(cut.value or b"")
    kept = [header for header in cut.headers if header[0] not in names.NAMES]
    brought = [header for header in came.headers if header[0] not in names.NAMES]
    assert kept == brought[: len(kept)]
    if cut is not letter:
        parts = {
            part
            for part, gone in (
                (Part.KEY, cut.key != came.key),
                (Part.VALUE, cut.value != came.value),
                (Part.HEADERS, kept != brought),
            )
            if gone
        }
        truncation = truncation_of(cut.headers)
        assert truncation is not None
        assert truncation.parts >= parts
        if truncation_of(came.headers) is None:
            digest = sha256(came.value or b"").hexdigest()
            assert truncation == Truncation(frozenset(parts), len(came.value or b""), digest)


@pytest.mark.reliability("F58")
def test_no_letter_takes_more_than_the_smallest_once_all_is_cut() -> None:
    detail = Rejected(Reason.UNSUPPORTED_VERSION, "\u00e9" * 1_000)
    smallest = min_dead_letter_bytes(["conversation.events"], "conversation-consumer", "1.2.3")
    for headers in ((), (("dlq-attempt", b"999999998"), ("x", b"y" * 5_000))):
        letter = letter_of(record(b"v" * 10_000, key=b"k" * 300, headers=headers), detail)
        assert 0 <= smallest - size(truncate(letter, 0)) < 120
