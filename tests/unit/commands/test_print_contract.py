"""Which topics the printed contract is about."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from consumer.commands.print_contract import asyncapi_text
from consumer.errors import SettingsError
from consumer.settings.model import KafkaSettings, Settings
from producer_tools.outgoing_message import Topics


def reading(*topics: str) -> Settings:
    return Settings(kafka=KafkaSettings(topics=topics))


def addresses(text: str) -> dict[str, str]:
    document: dict[str, Any] = yaml.safe_load(text)
    return {name: channel["address"] for name, channel in document["channels"].items()}


def test_by_default_they_are_those_that_are_published_to() -> None:
    found = addresses(asyncapi_text(Settings()))
    assert (found["sessions"], found["events"]) == (Topics().sessions, Topics().events)


@pytest.mark.parametrize("read", [("calls", "turns", "old"), ("old", "turns", "calls")])
def test_they_are_those_that_are_named_in_whatever_order_topics_are_read(
    read: tuple[str, ...],
) -> None:
    found = addresses(asyncapi_text(reading(*read), sessions="calls", events="turns"))
    assert (found["sessions"], found["events"]) == ("calls", "turns")


@pytest.mark.parametrize(
    ("named", "option"),
    [
        ({"sessions": "calls"}, "--events-topic: 'conversation.events'"),
        ({"events": "turns"}, "--sessions-topic: 'conversation.sessions'"),
        ({"sessions": "calls", "events": "mistyped"}, "--events-topic: 'mistyped'"),
    ],
)
def test_one_that_is_not_read_is_refused(named: dict[str, str], option: str) -> None:
    with pytest.raises(SettingsError) as caught:
        asyncapi_text(reading("calls", "turns"), **named)
    assert str(caught.value) == f"{option} is not read; name one of kafka.topics (calls, turns)"
