"""What a process tells: its log, its health, and every call of its observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any, cast

from structlog.typing import FilteringBoundLogger

from consumer.contract.record import Record, TopicPartition
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.settings.model import KafkaSettings
from tests.fakes.observer import RecordingObserver

MOST_LINES = 100
"""So many lines of trouble in one second are a flood."""

QUIET = frozenset(
    {
        *("lag", "loop_lag", "in_flight", "consumed"),
        *("behind_transaction", "unreachable", "missing_topics"),
    }
)
"""What is told again and again and says little."""


class Lines:
    """The log of a process, of which only the number of lines is kept.

    A line a batch is what a busy process writes. All others tell of trouble, and trouble that
    lasts must not fill the disk.
    """

    def __init__(self, clock: Callable[[], float], flood: Callable[[], None]) -> None:
        """``flood`` is called where more than ``MOST_LINES`` stand in one second."""
        self._clock = clock
        self._flood = flood
        self._second = 0
        self._lines = 0

    def debug(self, _event: str, **_facts: object) -> None:
        """Nobody reads it."""

    def info(self, event: str, **_facts: object) -> None:
        """Count a line."""
        if event == "batch_settled":
            return
        second = int(self._clock())
        self._second, self._lines = second, 1 + (self._lines if second == self._second else 0)
        if self._lines == MOST_LINES:
            self._flood()

    warning = error = info


class _NoMetrics:
    """Takes every count and keeps none."""

    def __getattr__(self, _name: str) -> _NoMetrics:
        return self

    def __call__(self, *_args: object, **_named: object) -> _NoMetrics:
        return self


class Witness:
    """The observer of a process: the service's own, and one that keeps and tells everything."""

    def __init__(
        self, clock: Callable[[], float], report: Callable[[str], None], name: str
    ) -> None:
        """``report`` is told what does not hold."""
        self.told = RecordingObserver()
        self.health = Health(clock)
        self.on_call: Callable[[str, tuple[Any, ...], Mapping[str, Any]], None] | None = None
        lines = Lines(clock, lambda: report(f"{name}: {MOST_LINES} lines within a second"))
        self._service = EngineObserver(
            cast("Metrics", _NoMetrics()),
            self.health,
            KafkaSettings(),
            log=cast("FilteringBoundLogger", lines),
            clock=clock,
        )

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return any method of ``Observer``."""

        def call(*args: Any, **named: Any) -> None:
            if self.on_call is not None:
                self.on_call(name, args, named)
            getattr(self.told, name)(*args, **named)
            getattr(self._service, name)(*args, **named)

        return call


def told(what: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Return a call in few words, the same for the same seed."""
    facts = [*map(_plain, args), *(f"{name}: {_plain(value)}" for name, value in named.items())]
    return " ".join([what, *facts])


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic.rpartition('.')[2]}-{partition.partition}"


def _plain(value: object) -> str:
    match value:
        case TopicPartition():
            return _name(value)
        case Record():
            return f"{_name(value.topic_partition)} {value.offset}"
        case Mapping():
            return f"{ {_plain(name): _plain(inner) for name, inner in value.items()} }"
        case AbstractSet():
            return f"{sorted(map(_plain, value))}"
        case list() | tuple():
            return f"{[_plain(inner) for inner in value]}"
        case _ if is_dataclass(value):
            return " ".join(_plain(getattr(value, one.name)) for one in fields(value))
        case _:
            return f"{value:.3f}" if isinstance(value, float) else str(value)
