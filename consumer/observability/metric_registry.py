"""Making metrics that are explained, and writing them out in the formats of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families


class MetricKind(StrEnum):
    """Prometheus' own words for what a metric is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricDescription:
    """What the documents say of a metric. ``name``: as queries write it, but for a histogram's."""

    name: str
    kind: MetricKind
    meaning: str
    labels: tuple[str, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """The names that queries can use."""
        if self.kind is MetricKind.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


class MetricRegistry:
    """A registry of its own, which remembers what is said of each metric that is made on it.

    Names get the prefix ``consumer_``, and those of counters the suffix ``_total``.
    """

    def __init__(self) -> None:
        """Begin with the metrics of the process and of Python."""
        # They would be a second series for each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives no types here
        self._registry = CollectorRegistry()
        self.described: list[MetricDescription] = []
        """Every metric that was made here, in that order."""
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Make a counter."""
        full = self._describe(name, MetricKind.COUNTER, text, labels)
        return Counter(full, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Make a gauge."""
        full = self._describe(name, MetricKind.GAUGE, text, labels)
        return Gauge(full, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
        """Make a histogram. ``buckets``: their upper bounds; one without a bound is added."""
        full = self._describe(name, MetricKind.HISTOGRAM, text, labels)
        return Histogram(full, text, labels, buckets=tuple(buckets), registry=self._registry)

    def _describe(
        self, name: str, kind: MetricKind, text: str, labels: tuple[str, ...] = ()
    ) -> str:
        name = f"consumer_{name}"
        shown = f"{name}_total" if kind is MetricKind.COUNTER else name
        self.described.append(MetricDescription(shown, kind, text, labels))
        return name

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Return the content type and everything there is. Safe from any thread.

        ``accept``: the header that says which formats the reader takes; OpenMetrics where it is
        among them, else Prometheus' own text.
        """
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)

    def sample(self, name: str, **labels: str) -> float | None:
        """One sample's value by its full name, None where it is not there."""
        return self._registry.get_sample_value(name, labels)


def parse_exposition(text: str) -> Iterable[tuple[str, dict[str, str], float]]:
    """Read Prometheus' text format: each sample's name, labels and value."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
