"""The tables in the documents are what the code says, and the site has every document."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from consumer.observability import health, observer
from consumer.ports import Stage
from tests.unit.deploy.promql import alerts

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SEEN, _, MEANT = RUNBOOK.partition("## What it means and what to do")


def test_the_tables_in_the_documents_are_in_step_with_the_code() -> None:
    check = subprocess.run(
        [sys.executable, "scripts/tables.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (check.returncode, check.stdout) == (0, "")


def test_every_document_is_a_page_of_the_site() -> None:
    documents = {
        str(path.relative_to(ROOT))
        for folder in (".", "docs", "tests", "benchmarks")
        for path in (ROOT / folder).glob("*.md")
    }
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    # scripts/docs_site.py makes this one of docs/asyncapi.yaml.
    assert set(_pages(nav)) == documents | {"docs/asyncapi.md"}


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages(part)


def test_the_example_of_own_kinds_is_the_module_that_the_tests_install() -> None:
    module = (ROOT / "tests" / "own_kinds" / "acme_kinds.py").read_text("utf-8")
    assert f"```python\n{module}```" in (ROOT / "docs" / "own-kinds.md").read_text("utf-8")


def test_the_runbook_tells_of_every_event_that_is_a_warning_or_worse() -> None:
    events = {name for path in (ROOT / "consumer").rglob("*.py") for name in _events(path)}
    assert {"retrying", "partition_held"} <= events
    assert [name for name in sorted(events) if f"`{name}`" not in SEEN] == []


def _events(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=logger, attr="warning" | "error" | "critical"),
                args=[ast.Constant(value=str(name)), *_],
            ) if ast.unparse(logger) in {"get_logger()", "self._log", "log"}:
                yield name


def test_the_runbook_tells_of_every_reason_not_to_be_ready() -> None:
    reasons = [
        *(health.STARTING, health.EVENT_LOOP, observer.ASSIGNMENT, observer.STALLED),
        *(observer.HELD, observer.UNREADABLE, observer.UNREACHABLE, observer.MISSING),
        *(Stage.POLL, Stage.APPLY, Stage.DEAD_LETTERS, Stage.COMMIT),
    ]
    assert [name for name in reasons if f"`{name}" not in SEEN] == []


def test_the_runbook_names_each_alert_where_it_says_what_to_do() -> None:
    for alert in alerts():
        _, _, chapter = alert.runbook.partition(": ")
        _, _, section = MEANT.partition(f"### {chapter}\n")
        assert f"`{alert.name}`" in section.partition("\n### ")[0], alert
