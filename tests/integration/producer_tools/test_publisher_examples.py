"""The examples of docs/publishing.md and of the README do what they say, on real brokers."""

from __future__ import annotations

import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from consumer.contract.decode import Decoded, decode
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy
from consumer.kafka.range_reader import open_range_reader
from consumer.settings.model import KafkaSettings
from producer_tools import Publisher
from producer_tools import Topics as TopicNames
from tests.integration.producer_tools.conftest import Topics

pytestmark = pytest.mark.real_kafka  # the embedded broker counts a batch as one record

ROOT = Path(__file__).parents[3]

PUBLISHED = {"README.md": (1,), "docs/publishing.md": (1, 4, 0, 0, 1)}
"""How many messages each example publishes."""


def examples(document: str) -> list[str]:
    text = (ROOT / document).read_text("utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


EXAMPLES = [
    pytest.param(source, count, id=f"{document} {number}")
    for document, counts in PUBLISHED.items()
    for number, (source, count) in enumerate(zip(examples(document), counts, strict=True), 1)
]


def run(source: str) -> None:
    """Run an example whose ``await`` stands at the top, as a notebook does."""
    scope: dict[str, Any] = {}
    body = textwrap.indent(source, "    ")
    exec(compile(f"async def example():\n{body}", "example", "exec"), scope)  # noqa: S102 -- ours
    asyncio.run(scope["example"]())


@pytest.fixture
def usual_topics(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> Topics:
    """What is published to the usual brokers and topics goes to the test's."""
    initialize = Publisher.__init__

    def to_the_test(self: Publisher, brokers: str | KafkaSettings, **options: Any) -> None:
        here = topics.bootstrap_servers if brokers == "localhost:9092" else brokers
        names = TopicNames(topics.sessions, topics.events)
        initialize(self, here, topics=names, warn=lambda _: None, **options)

    monkeypatch.setattr(Publisher, "__init__", to_the_test)
    return topics


async def everything(topics: Topics) -> list[Record]:
    kafka = KafkaSettings(bootstrap_servers=tuple(topics.bootstrap_servers.split(",")))
    async with open_range_reader(kafka) as reader:
        ranges = await reader.ranges([topics.sessions, topics.events])
        return [record async for _, records in reader.read(ranges) for record in records]


@pytest.mark.parametrize(("source", "count"), EXAMPLES)
def test_an_example_publishes_what_the_consumer_applies(
    usual_topics: Topics, source: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run(source)
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*?\)  # (.*)", source)
    records = asyncio.run(everything(usual_topics))
    assert len(records) == count
    for record in records:
        assert isinstance(decode(record, KeyPolicy.DEAD_LETTER), Decoded)
