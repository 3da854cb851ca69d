"""Write the tables of settings into the documentation, between the markers that ask for them.

``python scripts/settings_table.py`` writes; with ``--check`` it only says which files are
behind the code, and ends with 1 if there are any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from consumer.settings import SettingRow, describe

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->"
MARKED = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)

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
    for group, rows in groupby(describe(), key=lambda row: row.name.rpartition(".")[0]):
        lines += [f"## {group}", "", *_table(rows), ""]
    return "\n".join(lines)


def essential() -> str:
    """The few that most deployments set."""
    rows = {row.name: row for row in describe()}
    return "\n".join([*_table(rows[name] for name in ESSENTIAL), ""])


def _table(rows: Iterable[SettingRow]) -> Iterator[str]:
    yield "| setting | environment variable | default | allowed | meaning |"
    yield "|---|---|---|---|---|"
    for row in rows:
        variable = f"`{row.env}`" + (f" or `{row.env}_FILE`" if row.secret else "")
        default = f"`{row.default}`" if row.default else "not set"
        cells = (f"`{row.name}`", variable, default, row.allowed, row.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


DOCUMENTS = {ROOT / "docs" / "settings.md": full, ROOT / "README.md": essential}


def stale() -> Iterator[tuple[Path, str]]:
    """Each document whose table is not what the code says, with the text it should have."""
    for path, table in DOCUMENTS.items():
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        # Backslashes of a table would mean something to the pattern's replacement.
        fresh = MARKED.sub((BEGIN + table() + END).replace("\\", r"\\"), text)
        if fresh != text:
            yield path, fresh


def main() -> int:
    """Write or check."""
    behind = list(stale())
    for path, fresh in behind:
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is behind the code: run scripts/settings_table.py")
        else:
            path.write_text(fresh, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} written")
    return 1 if behind and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
