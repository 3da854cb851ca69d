"""Writers that apply records side by side: the real plan and the real store, no broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from random import Random

from consumer.contract.record import Position, Record
from consumer.contract.rejection import KeyPolicy, Reason
from consumer.engine.pipeline import RecordPlanner
from consumer.errors import TransientError
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import Write
from tests.model import Sent, problems
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Link, Network
from tests.simulation.process import FAILED_AT
from tests.simulation.store import Database, SimulatedCollections, StoreTroubles

MANY = 1_000


class Writers:
    """Some writers over one database; ``seed`` decides on order and faults."""

    def __init__(self, seed: int, troubles: StoreTroubles | None = None, loss: float = 0.0) -> None:
        self.loop = SimulationLoop(Random(f"{seed} order"))
        self.database = Database(self.loop, Random(f"{seed} database"))
        if troubles is not None:
            self.database.troubles = troubles
        self._network = Network(self.loop, Random(f"{seed} network"))
        self._link = Link(request_timeout=1.0, loss=loss, slow=0.2)
        self._plan = RecordPlanner(KeyPolicy.WARN, None, lambda: FAILED_AT)
        self.letters: set[tuple[Position, Reason]] = set()
        self.outcomes: list[Outcome] = []

    def apply(self, works: Iterable[Sequence[Sequence[Record]]]) -> None:
        """Give each writer its batches and let all of them end."""
        self.loop.run(self._apply([list(work) for work in works]))
        assert self.loop.troubles == []

    async def _apply(self, works: Sequence[Sequence[Sequence[Record]]]) -> None:
        tasks = [
            self.loop.on_host(
                self.loop.add_host(f"w{number}"), asyncio.ensure_future, self._write(work)
            )
            for number, work in enumerate(works)
        ]
        await asyncio.gather(*tasks)

    async def _write(self, batches: Sequence[Sequence[Record]]) -> None:
        store = MongoStore(SimulatedCollections(self.database, self._network, self._link))
        for batch in batches:
            planned = [self._plan(record)[0] for record in batch]
            writes: list[Write] = [one for one in planned if not isinstance(one, Result)]
            applied = iter(await self._attempts(store, writes))
            for record, one in zip(batch, planned, strict=True):
                result = one if isinstance(one, Result) else next(applied)
                self.outcomes.append(result.outcome)
                if result.rejected is not None:
                    self.letters.add((record.position, result.rejected.reason))

    async def _attempts(self, store: MongoStore, writes: Sequence[Write]) -> Sequence[Result]:
        application = store.prepare(writes)
        for _ in range(MANY):
            try:
                return await application()
            except TransientError:
                await asyncio.sleep(0.01)
        raise AssertionError("the batch did not end")

    def problems(self, sent: Iterable[Sent]) -> list[str]:
        """Return how what is stored and refused differs from what the model allows."""
        memory = self.database.memory
        return problems(sent, *memory.documents(), self.letters, memory.other_documents())
