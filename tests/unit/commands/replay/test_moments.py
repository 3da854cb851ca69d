"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumer.commands.replay.moments import moment_ms
from consumer.errors import SettingsError

NOW = datetime(2026, 3, 4, 10, 0, 0, tzinfo=UTC)
NOW_MS = 1_772_618_400_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-03-04T10:00:00Z", NOW_MS),
        ("2026-03-04T11:00:00.250+01:00", NOW_MS + 250),
        (" 2026-03-04 10:00:00z ", NOW_MS),
        ("2h ago", NOW_MS - 7_200_000),
        ("90m ago", NOW_MS - 5_400_000),
        ("45s ago", NOW_MS - 45_000),
        ("1d 12h ago", NOW_MS - 129_600_000),
        ("1d12h ago", NOW_MS - 129_600_000),
        ("2 weeks ago", NOW_MS - 1_209_600_000),
        ("1 Hour 5 minutes ago", NOW_MS - 3_900_000),
        ("0s ago", NOW_MS),
    ],
)
def test_a_moment_is_a_time_or_so_long_ago(text: str, milliseconds: int) -> None:
    assert moment_ms("--from-time", text, NOW) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-03-04",
        "2026-03-04T10:00:00",
        "2026-03-04T10:00Z",
        "2h",
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
    with pytest.raises(SettingsError, match="--from-time") as refused:
        moment_ms("--from-time", text, NOW)
    assert "\n" not in str(refused.value)
