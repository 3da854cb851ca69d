"""An event loop for several processes in one world: virtual time, and order by chance.

Every callback belongs to a host, told by its context. Within a host callbacks run first in,
first out, as on any asyncio loop; which host runs next is drawn by chance, as it is between
real processes. A host can be stopped for good or for a while before any callback, and so
before and after every await. Nothing ever sleeps: when nobody can run, the clock moves on.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from functools import wraps
from random import Random
from typing import Any, ParamSpec, TypeVar

Callback = Callable[..., object]
T = TypeVar("T")
P = ParamSpec("P")

WORLD = Context()
"""The context of what happens by itself: no host is set in it."""

HOT_LOOP = 200_000
"""So many callbacks without the clock moving are a loop that spins."""


@dataclass(slots=True, eq=False)
class Host:
    """Where callbacks run: a process, or the world around them."""

    name: str
    alive: bool = True
    paused: bool = False
    queue: deque[Handle] = field(default_factory=deque)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    """Kept, so that no coroutine of a dead host is closed, and its ``finally`` run."""
    on_step: Callable[[], None] | None = None
    """Called before each callback; may stop the host."""


HOST: ContextVar[Host] = ContextVar("HOST")


class Handle(asyncio.TimerHandle):
    """A callback to come, and the host it belongs to."""

    __slots__ = ("host",)

    def __init__(
        self,
        when: float,
        callback: Callback,
        args: Sequence[Any],
        loop: SimulationLoop,
        context: Context | None,
    ) -> None:
        context = copy_context() if context is None else context
        super().__init__(when, callback, args, loop, context)
        self.host: Host = context.get(HOST, loop.world)


class StuckError(AssertionError):
    """Nobody can ever run again, or somebody runs for ever."""


class SimulationLoop(asyncio.BaseEventLoop):
    """Has what tasks, futures, timeouts, locks and events need of a loop, and no files."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._chance = chance
        self._now = 0.0
        self._timers: list[tuple[float, float, int, Handle]] = []
        self._sequence = 0
        self._hosts_ready: list[Host] = []
        self._since_clock_moved = 0
        self.steps = 0
        self.world = Host("world")
        self.hosts = [self.world]
        self.troubles: list[str] = []
        """What would have been logged: exceptions of callbacks, and those nobody retrieved."""

    # --- asyncio's interface ---------------------------------------------------

    def time(self) -> float:
        return self._now

    def __del__(self) -> None:
        """It has nothing that must be closed."""

    def create_task(  # type: ignore[override]  # the stub's generics say no more than this
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = super().create_task(coro, name=name, context=context)
        HOST.get(self.world).tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]  # the stub's generics say no more than this
        self, callback: Callback, *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(self._now, callback, args, self, context)
        self._enqueue(handle)
        return handle

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callback, *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(when, callback, args, self, context)
        self._sequence += 1
        # Chance, not age, decides who is first of those that are due at one moment.
        heapq.heappush(self._timers, (when, self._chance.random(), self._sequence, handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.troubles.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- the drive -------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run ``main`` in the world until it is done, then end what is left."""
        try:
            with self.entered():
                task = self.create_task(main)
                while not task.done():
                    self._turn()
                return task.result()
        finally:
            self.end()

    def advance(self, seconds: float) -> None:
        """Let everything happen that happens in so many seconds."""
        until = self._now + seconds
        with self.entered():
            while self._hosts_ready or self._next_due() <= until:
                self._turn()
        self._now = until

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this the running loop, as far as asyncio is concerned."""
        previous = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(previous)

    def add_host(self, name: str) -> Host:
        """Return a new host."""
        host = Host(name)
        self.hosts.append(host)
        return host

    def on_host(self, host: Host, action: Callable[..., T], *args: Any) -> T:
        """Do something as a host: whatever comes of it belongs to the host."""
        context = copy_context()
        context.run(HOST.set, host)
        return context.run(action, *args)

    def in_world(self, delay: float, callback: Callback, *args: Any) -> asyncio.TimerHandle:
        """Call later in the world, whatever becomes of the host that asks for it."""
        return self.call_later(delay, callback, *args, context=WORLD)

    def kill(self, host: Host) -> None:
        """Never run anything of the host again while this world lasts."""
        host.alive = False
        if host in self._hosts_ready:
            self._hosts_ready.remove(host)

    def pause(self, host: Host) -> None:
        """Run nothing of the host until it is resumed; what becomes due waits."""
        host.paused = True
        if host in self._hosts_ready:
            self._hosts_ready.remove(host)

    def resume(self, host: Host) -> None:
        """Let a paused host go on."""
        if host.paused:
            host.paused = False
            if host.queue and host.alive:
                self._hosts_ready.append(host)

    def _enqueue(self, handle: Handle) -> None:
        host = handle.host
        if not host.queue and host.alive and not host.paused:
            self._hosts_ready.append(host)
        host.queue.append(handle)

    def _turn(self) -> None:
        """Run one callback, or let the clock move on to the next that is due."""
        ready = self._hosts_ready
        if not ready:
            self._move_clock()
            return
        index = int(self._chance.random() * len(ready)) if len(ready) > 1 else 0
        host = ready[index]
        if host.on_step is not None:
            host.on_step()
            if not host.alive or host.paused:
                return
        handle = host.queue.popleft()
        if not host.queue:
            ready[index] = ready[-1]
            ready.pop()
        if handle.cancelled():
            return
        self.steps += 1
        self._since_clock_moved += 1
        if self._since_clock_moved > HOT_LOOP:
            raise StuckError(f"{host.name} runs for ever without waiting")
        handle._run()

    def _next_due(self) -> float:
        """Return when the next callback is due, infinity where there is none."""
        timers = self._timers
        while timers and timers[0][3].cancelled():
            heapq.heappop(timers)
        return timers[0][0] if timers else math.inf

    def _move_clock(self) -> None:
        due = self._next_due()
        if due == math.inf:
            raise StuckError("nobody waits for anything that will ever happen")
        self._now = max(self._now, due)
        self._since_clock_moved = 0
        timers = self._timers
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[3]
            if not handle.cancelled():
                self._enqueue(handle)

    def end(self) -> None:
        """Cancel what is left, on dead hosts too, so that nothing of this world outlives it."""
        for host in self.hosts:
            host.alive, host.paused, host.on_step = True, False, None
        with self.entered():
            # Who is cancelled may begin something new on his way out.
            for _ in range(10):
                left = [task for host in self.hosts for task in host.tasks if not task.done()]
                if not left:
                    break
                for task in left:
                    task.cancel()
                # What waited in the queues wakes tasks that would never learn of their end.
                self._hosts_ready = [host for host in self.hosts if host.queue]
                with suppress(StuckError):
                    while self._hosts_ready or self._timers:
                        self._turn()
        for host in self.hosts:
            host.tasks.clear()


def in_virtual_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run a test on a loop of its own, on which no wait takes any time.

    What asyncio would only have logged, such as an exception that nobody retrieved, fails it.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = SimulationLoop(Random(0))
        loop.run(test(*args, **kwargs))
        assert loop.troubles == []

    return run
