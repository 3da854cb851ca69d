"""A demo whose consumers do not run says so at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from consumer.demo.consumers import DemoConfig
from consumer.demo.dataset import load_dataset, open_stored
from consumer.demo.scenario import ConsumerEndedError, CrashScenario
from consumer.demo.screen import open_screen
from consumer.demo.servers import embedded_servers
from consumer.kafka.admin import create_topic
from producer_tools.outgoing_message import Topics


async def test_a_consumer_that_ends_by_itself_ends_the_demo_with_its_last_words(
    tmp_path: Path,
) -> None:
    async with embedded_servers() as servers:
        config = DemoConfig.of(servers)
        broken = replace(config, overrides={**config.overrides, "engine.batches_in_flight": 0})
        for name in Topics().names:
            await create_topic(config.settings.kafka, name, 2)
        with open_screen(Console(quiet=True)) as screen:
            async with open_stored(config.settings.mongo) as stored:
                crash = CrashScenario(screen, broken, stored)
                with pytest.raises(
                    ConsumerEndedError, match=r"ended by itself: .*batches_in_flight"
                ):
                    await crash.run(load_dataset(2), tmp_path)
