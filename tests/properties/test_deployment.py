"""Hypothesis as the operator of a deployment: it delivers, crashes, cuts, heals, in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.simulation.process import Process, Shape
from tests.simulation.store import StoreTroubles
from tests.simulation.world import World

MOST_PROCESSES = 3

processes = st.integers(0, MOST_PROCESSES - 1)


class Deployment(RuleBasedStateMachine):
    """The processes are the real ones; cluster, database and clock are simulated."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @property
    def lived(self) -> World:
        """The world; there is one from the first rule on."""
        assert self.world is not None
        return self.world

    @initialize(
        seed=st.integers(0, 2**16),
        max_poll_records=st.sampled_from([1, 3, 50]),
        batches_in_flight=st.integers(1, 3),
    )
    def begin(self, seed: int, max_poll_records: int, batches_in_flight: int) -> None:
        self.world = World(seed, Shape(max_poll_records, 1_000, batches_in_flight, 0.5))

    def _process(self, number: int) -> Process | None:
        running = self.lived.running
        return running[number % len(running)] if running else None

    # --- what happens -----------------------------------------------------------------

    @rule(records=st.integers(1, 8))
    def deliver(self, records: int) -> None:
        self.lived.workload.produce(records)

    @precondition(lambda self: len(self.lived.running) < MOST_PROCESSES)
    @rule()
    def join(self) -> None:
        with self.lived.loop.entered():
            self.lived.start()

    @rule(number=processes)
    def leave(self, number: int) -> None:
        process = self._process(number)
        if process is not None:
            self.lived.stop(process)

    @rule(number=processes, after=st.integers(0, 120))
    def crash(self, number: int, after: int) -> None:
        process = self._process(number)
        if process is not None:
            self.lived.crash(process, after)

    @rule(number=processes, seconds=st.sampled_from([0.2, 3.0, 9.0]))
    def pause(self, number: int, seconds: float) -> None:
        process = self._process(number)
        if process is not None:
            self.lived.pause(process, seconds)

    @rule(
        down=st.booleans(),
        interrupted=st.sampled_from([0.0, 0.5]),
        write_concern=st.sampled_from([0.0, 0.5]),
        throttled=st.sampled_from([0.0, 0.5]),
    )
    def trouble_the_store(
        self, down: bool, interrupted: float, write_concern: float, throttled: float
    ) -> None:
        self.lived.database.troubles = StoreTroubles(down, interrupted, write_concern, throttled)

    @rule(
        number=processes,
        kind=st.sampled_from(["data", "group", "store", "letters"]),
        cut=st.booleans(),
        loss=st.sampled_from([0.0, 0.4]),
        slow=st.sampled_from([0.0, 0.5]),
    )
    def trouble_a_link(self, number: int, kind: str, cut: bool, loss: float, slow: float) -> None:
        process = self._process(number)
        if process is not None:
            link = process.links[kind]
            link.cut, link.loss, link.slow, link.slowest = cut, loss, slow, 3.0

    @rule(number=processes, errors=st.integers(1, 6))
    def fail_fetches(self, number: int, errors: int) -> None:
        process = self._process(number)
        if process is not None:
            process.faults.fetch_errors = errors

    @rule(number=processes)
    def lose_the_client(self, number: int) -> None:
        process = self._process(number)
        if process is not None and process.client is not None:
            process.client.lose_coordination()

    @rule(number=processes)
    def poison_the_heartbeat(self, number: int) -> None:
        process = self._process(number)
        if process is not None:
            process.faults.heartbeat_poisoned = True

    @precondition(lambda self: self.lived.group.available)
    @rule()
    def lose_the_coordinator(self) -> None:
        self.lived.group.go_down()

    @precondition(lambda self: not self.lived.group.members)
    @rule()
    def forget_the_offsets(self) -> None:
        """Everything is redelivered."""
        self.lived.group.offsets.clear()

    @rule()
    def heal(self) -> None:
        world = self.lived
        world.database.troubles = StoreTroubles()
        if not world.group.available:
            world.group.come_up()
        for process in world.processes:
            world.resume(process)
            for link in process.links.values():
                link.cut, link.loss, link.slow = False, 0.0, 0.0

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 8.0]))
    def wait(self, seconds: float) -> None:
        self.lived.loop.advance(seconds)

    # --- what must hold -----------------------------------------------------------------

    @invariant()
    def nothing_is_committed_before_it_is_stored_and_nobody_dies_of_a_defect(self) -> None:
        if self.world is not None:
            self.world.check()

    def teardown(self) -> None:
        if self.world is None:
            return
        self.heal()
        self.world.spare()
        with self.world.loop.entered():
            while not self.world.running:
                self.world.start()
        self.world.run(self._converge(self.world))

    @staticmethod
    async def _converge(world: World) -> None:
        while not any(not process.stop.is_set() for process in world.running):
            world.start()
        await world.caught_up()
        await world.finish()


Deployment.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestDeployment = Deployment.TestCase
