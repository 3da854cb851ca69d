"""What the group's client is told, of which a wrong word would lose records."""

from __future__ import annotations

import pytest

from consumer.settings import KafkaSettings
from consumer.stream.client import _consumer_options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        # "latest" would turn a commit that is gone into records that are skipped.
        ("auto_offset_reset", "earliest"),
        # The client's own commits count what was handed out, not what was stored.
        ("enable_auto_commit", False),
        ("isolation_level", "read_committed"),
        ("check_crcs", True),
    ],
)
def test_no_option_of_the_client_can_lose_a_record(option: str, value: object) -> None:
    assert _consumer_options(KafkaSettings())[option] == value
