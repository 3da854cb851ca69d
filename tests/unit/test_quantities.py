"""How numbers are written for people."""

from __future__ import annotations

from consumer.quantities import count_text, duration_text, rate_text


def test_numbers_have_their_thousands_apart_and_what_is_not_known_is_a_question_mark() -> None:
    assert (count_text(1234567), count_text(0), count_text(None)) == ("1,234,567", "0", "?")
    assert (rate_text(1234.5), rate_text(0.0), rate_text(None)) == ("1,234/s", "0/s", "?")


def test_durations_are_days_hours_minutes_and_seconds() -> None:
    assert duration_text(65.4) == "0:01:05"
    assert duration_text(90061) == "1 day, 1:01:01"
    assert duration_text(200000) == "2 days, 7:33:20"
    assert duration_text(9.2e15) == "999999999 days, 0:00:00"
    assert duration_text(-9.2e15) == "-999999999 days, 0:00:00"
    assert duration_text(-65.4) == "-0:01:05"
    assert duration_text(-0.2) == "0:00:00"
    assert duration_text(None) == "-"
