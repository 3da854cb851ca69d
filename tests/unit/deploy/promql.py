"""The queries of the alerts and of the dashboard, what each of them names, and what there is.

Only as much of YAML and PromQL is read as these files are written in; where ``promtool`` is found
the tests give it the whole of them to judge.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from consumer.observability.metrics import Metrics

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = PROMETHEUS / "consumer.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboards/consumer.json"

FOREIGN = ("job", "instance", "alertname", "alertstate", "le")
"""Labels that Prometheus adds to what we expose."""

_ALERT = re.compile(r"^      - alert: (\w+)\n((?:(?: {8}.*)?\n)+)", re.MULTILINE)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SERIES = re.compile(r"\b(consumer_\w+)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Metric:
    """What is said of one metric. ``name``: as queries write it, but for a histogram's."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """The names that queries can use."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


def metrics() -> list[Metric]:
    """Every metric of ours, in the order in which they are made."""
    known = Metrics().registry._collector_to_names
    made = [metric for metric in known if isinstance(metric, MetricWrapperBase)]
    return [
        Metric(
            f"{said.name}_total" if said.type == "counter" else said.name,
            said.type,
            said.documentation,
            tuple(metric._labelnames),
        )
        for metric in made
        for said in metric.describe()
    ]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule. ``wait``: for how long its expression must hold."""

    name: str
    expression: str
    severity: str
    wait: str
    runbook: str


def alerts() -> list[Alert]:
    """Every alerting rule, in the order of the file."""
    return [_alert(name, body) for name, body in _ALERT.findall(RULES.read_text(encoding="utf-8"))]


def _alert(name: str, body: str) -> Alert:
    block = re.search(r"^ {8}expr: \|\n((?: {10}.*\n)+)", body, re.MULTILINE)
    expression = textwrap.dedent(block[1]).strip() if block else _field(body, "expr")
    return Alert(
        name,
        expression,
        _field(body, "severity"),
        _field(body, "for", "0m"),
        _field(body, "runbook"),
    )


def _field(body: str, name: str, default: str = "") -> str:
    found = re.search(rf"^ +{name}: (.+)$", body, re.MULTILINE)
    return found[1].strip('"') if found else default


def dashboard_queries() -> Iterator[str]:
    """Every query of the dashboard, with its panels' variables as Prometheus gets them."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")


def series_named(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each of our series that an expression names, with the labels it is matched by."""
    for name, matchers in _SERIES.findall(_STRING.sub('""', expression)):
        yield name, set(_MATCHER.findall(matchers))


def labels_grouped(expression: str) -> set[str]:
    """Return the labels by which an expression groups or matches."""
    lists = _GROUPING.findall(_STRING.sub('""', expression))
    return {label.strip() for names in lists for label in names.split(",")} - {""}


def alerts_on(series: Iterable[str]) -> list[str]:
    """Return the names of the alerts that use any of these series."""
    wanted = set(series)
    return [
        alert.name
        for alert in alerts()
        if wanted.intersection(name for name, _ in series_named(alert.expression))
    ]
