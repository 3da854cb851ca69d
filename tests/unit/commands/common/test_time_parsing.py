"""Times as people write them on a command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from consumer.commands.common.time_parsing import parse_moment
from consumer.errors import SettingsError

NOW = datetime(2026, 3, 4, 10, 30, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-04T10:00:00Z", datetime(2026, 3, 4, 10, tzinfo=UTC)),
        ("2026-03-04T11:00:00.250+01:00", datetime(2026, 3, 4, 10, 0, 0, 250_000, tzinfo=UTC)),
        (" 2026-03-04 10:00:00z ", datetime(2026, 3, 4, 10, tzinfo=UTC)),
        ("2026-03-04", datetime(2026, 3, 4, tzinfo=UTC)),
        ("today", datetime(2026, 3, 4, tzinfo=UTC)),
        (" Yesterday", datetime(2026, 3, 3, tzinfo=UTC)),
    ],
)
def test_a_time_is_rfc_3339_or_a_day(text: str, moment: datetime) -> None:
    assert parse_moment("--from-time", text, NOW) == moment


@pytest.mark.parametrize("ago", ["", " ago"])
@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("2h", timedelta(hours=2)),
        ("90m", timedelta(minutes=90)),
        ("45s", timedelta(seconds=45)),
        ("1d 12h", timedelta(days=1, hours=12)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("2 weeks", timedelta(weeks=2)),
        ("1 Hour 5 minutes", timedelta(hours=1, minutes=5)),
        ("0s", timedelta()),
    ],
)
def test_a_time_may_be_so_long_ago(text: str, ago: str, before: timedelta) -> None:
    assert parse_moment("--since", text + ago, NOW) == NOW - before


def test_days_are_those_of_utc_wherever_the_command_runs() -> None:
    now = datetime(2026, 3, 4, 1, tzinfo=timezone(timedelta(hours=2)))
    assert parse_moment("--since", "today", now) == datetime(2026, 3, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-13-04",
        "2026-03-04T10:00:00",
        "2026-03-04T10:00Z",
        "yesterday ago",
        "2026-03-04 ago",
        "h",
        "2",
        "ago",
        "2 fortnights ago",
        "-2h ago",
        "1.5h ago",
        "٢h ago",
        "999999999w ago",
        "1772618400000",
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_option(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--from-time: ") as refused:
        parse_moment("--from-time", text, NOW)
    assert "\n" not in str(refused.value)
