"""The tables in the documents are what the code says, and the site has every document."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


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
