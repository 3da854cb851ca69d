"""Which texts are times, and which instants they are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.contract.times import EPOCH, format_time, parse_time


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-04T10:00:05Z", datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC)),
        ("2026-03-04t10:00:05z", datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC)),
        ("2026-03-04 10:00:05+00:00", datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC)),
        ("2026-03-04T10:00:05-00:00", datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC)),
        ("2026-03-05T00:00:05+14:00", datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC)),
        ("2026-03-03T10:01:05-23:59", datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC)),
        ("2026-03-04T10:00:05.1Z", datetime(2026, 3, 4, 10, 0, 5, 100_000, UTC)),
        ("2026-03-04T10:00:05.0009999999Z", datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC)),
        ("2026-03-04T10:00:05.999999999z", datetime(2026, 3, 4, 10, 0, 5, 999_000, UTC)),
        ("1969-12-31T23:59:59.9996Z", datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T01:00:00+01:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("0000-12-31T23:30:00-00:30", datetime(1, 1, 1, tzinfo=UTC)),
        ("0000-12-31 00:01:00.5-23:59", datetime(1, 1, 1, 0, 0, 0, 500_000, UTC)),
        ("9999-12-31T23:59:59.999Z", datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)),
        ("9999-12-31T22:00:00-01:59", datetime(9999, 12, 31, 23, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_utc_at_milliseconds(text: str, instant: datetime) -> None:
    read = parse_time(text)
    assert read == instant
    assert read is not None
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-04",
        "2026-03-04T10:00Z",
        "2026-03-04T10:00+01:00",
        "2026-03-04T10:00:05",
        "2026-03-04T10:00:05.Z",
        "2026-03-04T10:00:05,5Z",
        "2026-03-04T10:00:05.5",
        "2026-03-04T10:00:05GMT",
        "2026-03-04T10:00:05 Z",
        "2026-03-04T10:00:05+0100",
        "2026-03-04T10:00:05+01",
        "2026-03-04T10:00:05+24:00",
        "2026-03-04T10:00:05+01:60",
        "2026-03-04T10:00:05+01:00:30",
        "2026-03-04T10:00:60Z",
        "2026-12-31T23:59:60Z",
        "2026-03-04T10:60:05Z",
        "2026-03-04T24:00:00Z",
        "2026-03-04T3:33:07 PMZ",
        "2026-03-04_10:00:05Z",
        "2026-03-04  10:00:05Z",
        "20260304T100005Z",
        "2026-W10-3T10:00:05Z",
        "2026-063T10:00:05Z",
        "26-03-04T10:00:05Z",
        "12026-03-04T10:00:05Z",
        "+2026-03-04T10:00:05Z",
        "2026-13-04T10:00:05Z",
        "2026-00-04T10:00:05Z",
        "2026-02-29T10:00:05Z",
        "2026-03-00T10:00:05Z",
        " 2026-03-04T10:00:05Z",
        "2026-03-04T10:00:05Z\n",
        "2026-03-04T10:00:05Z\0",
        "\u0662\u0660\u0662\u0666-\u0660\u0663-\u0660\u0664T\u0661\u0660:\u0660\u0660:\u0660\u0660Z",
        "2026-03-04T10:00:\u0660\u0665Z",
        "2026-03-04T10:00:05.\u0665Z",
        "2026\u201103\u201104T10:00:05Z",
        "2026-03-04T10:00:05\ud800Z",
        "1772618400000",
        "0000-01-01T00:00:00Z",
        "0000-12-31T23:59:59Z",
        "0000-12-31T23:00:00-00:59",
        "0000-12-30T23:59:59-23:59",
        "0000-12-31T23:30:00+00:30",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "10000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    assert parse_time(text) is None


def test_a_fraction_may_have_any_number_of_digits() -> None:
    text = "2026-03-04T10:00:05." + "9" * 100_000 + "Z"
    assert parse_time(text) == datetime(2026, 3, 4, 10, 0, 5, 999_000, UTC)


PARTS = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2}).([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def reckoned(text: str) -> datetime | None:
    """Read a time of the right form by arithmetic alone."""
    found = PARTS.fullmatch(text)
    assert found is not None
    year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
    millisecond = int(((found[7] or "") + "000")[:3])
    offset = int(found[9] or 0) * 60 + int(found[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or int(found[9] or 0) > 23:
        return None
    if int(found[10] or 0) > 59:
        return None
    try:
        # Four hundred years are a whole number of days: the calendar repeats.
        then = datetime(year % 400 + 400, month, day, hour, minute, second, tzinfo=UTC)
        then += timedelta(milliseconds=millisecond)
        then -= timedelta(minutes=-offset if found[8] == "-" else offset)
        return then.replace(year=then.year - 400 + year // 400 * 400)
    except ValueError:
        return None


digits = st.text("0123456789", min_size=1, max_size=12)
texts = st.builds(
    "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.integers(0, 9999) | st.sampled_from([0, 1, 9999]),
    st.integers(0, 13) | st.sampled_from([1, 12]),
    st.integers(0, 32) | st.sampled_from([1, 31]),
    st.sampled_from("Tt "),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    st.just("") | st.builds(".{}".format, digits),
    st.sampled_from("Zz")
    | st.builds(
        "{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 25), st.integers(0, 61)
    ),
)


@given(texts)
@example("0000-12-31T23:59:59.9999-00:01")
@example("9999-12-31T23:59:59.9999+23:59")
@example("0400-02-29T00:00:00Z")
@example("0000-02-29T00:00:00-23:59")
def test_reading_agrees_with_reckoning(text: str) -> None:
    assert parse_time(text) == reckoned(text)


instants = st.builds(
    lambda seconds, microsecond, zone: (EPOCH + timedelta(0, seconds, microsecond)).astimezone(
        timezone(timedelta(minutes=zone))
    ),
    st.integers(-62_135_500_000, 253_402_200_000),
    st.integers(0, 999_999),
    st.integers(-1439, 1439),
)


@given(instants)
def test_a_formatted_time_is_read_as_the_same_millisecond(instant: datetime) -> None:
    text = format_time(instant)
    assert text.endswith("Z")
    read = parse_time(text)
    assert read is not None
    assert timedelta() <= instant - read < timedelta(milliseconds=1)


def test_a_time_is_formatted_with_milliseconds_in_utc() -> None:
    assert format_time(datetime(26, 3, 4, 10, tzinfo=timezone(timedelta(hours=1)))) == (
        "0026-03-04T09:00:00.000Z"
    )
