"""Write the generated tables into the documents, between the markers that ask for them.

Also what is generated as a whole: docs/asyncapi.yaml and docs/schemas.

``python scripts/tables.py`` writes; with ``--check`` it only says which documents are behind the
code, and ends with 1 if there are any.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from consumer.commands.print_contract import asyncapi_text
from consumer.contract.asyncapi import json_schema_text
from consumer.contract.messages import MessageKind
from consumer.settings.model import Settings
from consumer.settings.sources import CATALOGUE, SettingRow

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.mutants import __main__ as mutants  # noqa: E402 -- the tests are no installed package
from tests.unit.deploy import promql  # noqa: E402 -- likewise

# What a first deployment looks at; the others are in docs/settings.md.
ESSENTIAL = (
    "kafka.bootstrap_servers",
    "kafka.topics",
    "kafka.group_id",
    "kafka.key_policy",
    "kafka.security.protocol",
    "dead_letters.topic",
    "mongo.uri",
    "mongo.database",
    "mongo.sessions",
    "mongo.events",
    "mongo.driver",
    "log.format",
    "log.level",
    "http.port",
)


def full() -> str:
    """Every setting, a table for each group."""
    lines: list[str] = []
    for group, rows in groupby(CATALOGUE.values(), key=lambda row: row.name.rpartition(".")[0]):
        lines += [f"## {group}", "", *_table(rows), ""]
    return "\n".join(lines)


def essential() -> str:
    """The few that most deployments set."""
    return "\n".join([*_table(CATALOGUE[name] for name in ESSENTIAL), ""])


def modules() -> str:
    """Every module of the product with the first line of what it says of itself."""
    lines: list[str] = []
    for package in ("consumer", "producer_tools"):
        files = sorted((ROOT / package).rglob("*.py"), key=lambda path: (path.parent, path.name))
        for folder, paths in groupby(files, key=lambda path: path.parent.relative_to(ROOT)):
            rows = [f"| `{path.name}` | {told} |" for path in paths if (told := _first_line(path))]
            lines += [f"### {folder}/", "", "| module | what is in it |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def _table(rows: Iterable[SettingRow]) -> Iterator[str]:
    yield "| setting | environment variable | default | allowed | meaning |"
    yield "|---|---|---|---|---|"
    for row in rows:
        variable = f"`{row.env}`" + (f" or `{row.env}_FILE`" if row.in_file else "")
        default = f"`{row.default}`" if row.default else "not set"
        cells = (f"`{row.name}`", variable, default, row.allowed, row.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def metrics() -> str:
    """Every metric, with the alerts that use it."""
    lines = ["| metric | type | labels | meaning | alerts |", "|---|---|---|---|---|"]
    for described in promql.metrics():
        labels = ", ".join(f"`{label}`" for label in described.labels)
        used = ", ".join(f"`{name}`" for name in promql.alerts_on(described.series))
        name, kind, meaning = described.name, described.kind, described.meaning
        lines.append(f"| `{name}` | {kind} | {labels} | {meaning} | {used} |")
    return "\n".join([*lines, ""])


def alerts() -> str:
    """Every alert: how bad it is, when it fires, and where it is said what to do."""
    lines = ["| alert | severity | holds for | what to do |", "|---|---|---|---|"]
    for alert in promql.alerts():
        chapter = alert.runbook.partition(": ")[2]
        lines.append(f"| `{alert.name}` | {alert.severity} | {alert.wait} | {chapter} |")
    return "\n".join([*lines, ""])


TABLES: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("docs/settings.md", "settings", full),
    ("README.md", "settings", essential),
    ("DESIGN.md", "modules", modules),
    ("docs/metrics.md", "metrics", metrics),
    ("docs/metrics.md", "alerts", alerts),
    ("docs/reliability.md", "mutants", lambda: mutants.table(mutants.ALL) + "\n"),
)
"""The document, the name of its marker, and what stands there."""


def stale() -> Iterator[tuple[Path, str]]:
    """Each document whose table is not what the code says, with the text it should have."""
    fresh: dict[Path, str] = {}
    for document, name, table in TABLES:
        path = ROOT / document
        text = fresh.get(path) or path.read_text(encoding="utf-8")
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        before, _, rest = text.partition(begin)
        _, marked, after = rest.partition(end)
        if not marked:
            sys.exit(f"{document} has no place for the table of {name}: {begin}{end}")
        fresh[path] = before + begin + table() + end + after
    fresh |= whole()
    for path, text in fresh.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path, text


def whole() -> Iterator[tuple[Path, str]]:
    """Each document that is generated from its first line to its last, with its text."""
    yield ROOT / "docs" / "asyncapi.yaml", asyncapi_text(Settings())
    for kind in MessageKind:
        yield ROOT / "docs" / "schemas" / f"{kind.value}.schema.json", json_schema_text(kind)


def main() -> int:
    """Write or check."""
    behind = list(stale())
    for path, fresh in behind:
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is behind the code: run scripts/tables.py")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(fresh, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} written")
    return 1 if behind and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
