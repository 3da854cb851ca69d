"""What the process keeps of a batch that the database does not take, over both drivers."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from pydantic import SecretStr

from consumer.errors import TransientError
from consumer.mongo.driver import EncodedDocument
from consumer.mongo.store import open_store
from consumer.settings.model import MongoSettings
from consumer.settings.values import Driver
from tests.memory import no_collector
from tests.unit.state.builders import event, write

from .wire import NO_REPLY, Answer, refusal, scripted_server

TEXT = "x" * 250_000
WRITES = 4
ATTEMPTS = 5

TROUBLE: dict[str, Answer] = {
    "cut": lambda _: None,
    "silent": NO_REPLY,
    "no primary": refusal(10107),
    "refused": refusal(8000),
    "refused each": lambda _: {"ok": 1, "n": 0, "writeErrors": [{"index": 0, "code": 112}]},
    "no majority": {"ok": 1, "n": WRITES, "writeConcernError": {"code": 64}},
}


@pytest.mark.reliability("F110")
@pytest.mark.parametrize("driver", list(Driver), ids=str)
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_what_the_database_does_not_take_is_freed_at_once(
    trouble: str, driver: Driver
) -> None:
    async with scripted_server() as server:
        server.always["insert"] = TROUBLE[trouble]
        settings = MongoSettings(uri=SecretStr(server.uri), driver=driver, timeout=0.2)
        async with open_store(settings) as store:
            writes = [
                write(event(event_id=str(n), payload={"text": TEXT}), n) for n in range(WRITES)
            ]
            batch = store.prepare(writes)

            async def attempts(number: int) -> int:
                """Return how much memory is in use after so many attempts."""
                for _ in range(number):
                    try:
                        await batch()
                    except TransientError:
                        server.commands.clear()
                    else:
                        raise AssertionError("it took them")
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            try:
                with no_collector():
                    before = await attempts(2)
                    grown = await attempts(ATTEMPTS) - before
                    kept = sum(type(one) is EncodedDocument for one in gc.get_objects())
            finally:
                tracemalloc.stop()
    # A connection may hold the last command for a moment longer.
    assert kept <= WRITES
    assert grown < WRITES * len(TEXT), f"{grown / ATTEMPTS:.0f} bytes are kept of each attempt"
