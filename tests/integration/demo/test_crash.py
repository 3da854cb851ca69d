"""A demo whose consumers do not run says so at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from consumer.demo.comparison import open_stored
from consumer.demo.crash import STEPS, ConsumerEndedError, CrashTest
from consumer.demo.material import prepare
from consumer.demo.screen import Scene, Step, open_screen
from consumer.demo.servers import embedded_servers
from consumer.demo.surroundings import Surroundings
from producer_tools.brokers import create_topics
from producer_tools.outgoing import Topics


async def test_a_consumer_that_ends_by_itself_ends_the_demo_with_its_last_words(
    tmp_path: Path,
) -> None:
    scene = Scene([Step(title) for title in STEPS])
    async with embedded_servers() as servers:
        surroundings = Surroundings.of(servers)
        broken = replace(
            surroundings, overrides={**surroundings.overrides, "engine.batches_in_flight": 0}
        )
        await create_topics(surroundings.kafka, Topics().names, 2)
        with open_screen(scene, Console(quiet=True)) as screen:
            async with open_stored(surroundings.mongo) as stored:
                crash = CrashTest(screen, 0, broken, stored)
                with pytest.raises(
                    ConsumerEndedError, match=r"ended by itself: .*batches_in_flight"
                ):
                    await crash.run(prepare(2), tmp_path)
