"""What alerts and dashboard ask for is there, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.observability.metrics import Metrics
from consumer.ports import Stage
from consumer.state.outcomes import Outcome
from tests.unit.deploy.promql import (
    DASHBOARD,
    FOREIGN,
    PROMETHEUS,
    ROOT,
    RULES,
    alerts,
    dashboard_queries,
    labels_grouped,
    metrics,
    series_named,
)

LABELS = {series: set(metric.labels) for metric in metrics() for series in metric.series}
QUERIES = [*(alert.expression for alert in alerts()), *dashboard_queries()]
VALUES = {"outcome": set[str](Outcome), "stage": set[str](Stage), "reason": set[str](Reason)}

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not found")


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    named = list(series_named(query))
    assert named or "ALERTS" in query or "process_" in query
    for series, matched in named:
        assert series in LABELS, query
        assert matched <= LABELS[series] | set(FOREIGN), query
    known = {*FOREIGN, *(label for series, _ in named for label in LABELS[series])}
    assert labels_grouped(query) <= known, query


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_asks_for_values_that_labels_can_have(query: str) -> None:
    for label, values in VALUES.items():
        for asked in re.findall(rf'\b{label}=~?"([^"]*)"', query):
            assert set(asked.split("|")) <= values, query


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    chapters = set(re.findall(r"^\*\*(.+?)[.?]?\*\*|^#+ (.+)$", text, re.MULTILINE))
    titles = {bold or heading for bold, heading in chapters}
    assert len(alerts()) == RULES.read_text(encoding="utf-8").count("- alert:")
    for alert in alerts():
        document, _, chapter = alert.runbook.partition(": ")
        assert (document, alert.severity in {"critical", "warning"}) == ("docs/operations.md", True)
        assert chapter in titles, alert


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    tests = (PROMETHEUS / "consumer.rules.test.yml").read_text(encoding="utf-8")
    checks = re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:( \[\])?\n", tests)
    assert {name for name, silent in checks if not silent} == {alert.name for alert in alerts()}


def test_the_dashboard_reads_from_the_datasource_that_is_provisioned() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    kinds = {one["name"]: one["type"] for one in dashboard["templating"]["list"]}
    assert kinds["datasource"] == "datasource"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert {
        target["datasource"]["uid"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    } == {"${datasource}"}


def test_compose_mounts_what_is_provisioned_and_scrapes_where_the_consumer_listens() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for source in re.findall(r"- (\./deploy/\S+?):/", compose):
        assert (ROOT / source).is_dir(), source
    provider = ROOT / "deploy/grafana/provisioning/dashboards/consumer.yml"
    (path,) = re.findall(r"path: (\S+)", provider.read_text(encoding="utf-8"))
    assert f"./deploy/grafana/dashboards:{path}:ro" in compose
    scrape = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    (name,), (port,) = re.findall(r"names: \[(\w+)\]", scrape), re.findall(r"port: (\d+)", scrape)
    assert re.search(
        rf"^  {name}:\n(?:    .*\n)*      CONSUMER_HTTP__PORT: {port}\b", compose, re.MULTILINE
    )


# --- by Prometheus' own tool, where there is one --------------------------------------------


def promtool(*arguments: str, text: str | None = None) -> None:
    assert PROMTOOL is not None
    ran = subprocess.run(
        [PROMTOOL, *arguments],
        cwd=PROMETHEUS,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_the_alerts_fire_when_they_should() -> None:
    promtool("check", "rules", "consumer.rules.yml")
    promtool("test", "rules", "consumer.rules.test.yml")


@needs_promtool
def test_prometheus_takes_its_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(dashboard_queries())
    ]
    # JSON is YAML, too.
    path = tmp_path / "dashboard.rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(path))


@needs_promtool
def test_prometheus_finds_nothing_to_say_about_the_names_of_the_metrics() -> None:
    exposed = Metrics()
    exposed.assigned([TopicPartition("conversation.events", 0)])
    _, body = exposed.exposition()
    ours = re.sub(r"^.*\b(?:python|process)_.*\n", "", body.decode(), flags=re.MULTILINE)
    promtool("check", "metrics", text=ours)
