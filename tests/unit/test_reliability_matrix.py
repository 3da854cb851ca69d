"""The documents name only tests that are there; docs/reliability.md has every row."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.known_tests import ROOT, known_tests

DOCUMENT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

ROWS = [
    *[f"A{number}" for number in range(1, 29)],
    *[f"B{number}" for number in range(1, 24)],
    *[f"F{number}" for number in range(1, 45)],
]
ROW_AND_TEST = r"^\| ([ABF]\d+) \|[^|]*\| `[^:`]+::(\w+)`"
DESIGN = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT + DESIGN)))

_, _, LATER = DOCUMENT.partition("## Found since")
FOUND_SINCE = re.findall(
    r"^\| (F\d+) \|[^|]*\| ([^|]*) \|", LATER.partition("## Planted")[0], re.MULTILINE
)
MARKED = [(one.id.rpartition("::")[2], one.rows) for one in known_tests() if one.rows]
CODES = Counter(code for _, codes in MARKED for code in codes)


def test_every_row_stands_there_once() -> None:
    found = Counter(re.findall(r"^\| ([ABF]\d+) \|", DOCUMENT, re.MULTILINE))
    assert set(ROWS) <= found.keys()
    assert found.most_common(1)[0][1] == 1


@pytest.mark.parametrize(("row", "name"), re.findall(ROW_AND_TEST, DOCUMENT, re.MULTILINE))
def test_every_row_names_a_test_that_is_marked_with_it(row: str, name: str) -> None:
    assert any(row in codes for marked, codes in MARKED if marked == name)


def test_every_marker_names_rows_that_the_document_has() -> None:
    assert CODES.keys() <= set(re.findall(r"^\| ([ABF]\d+) \|", DOCUMENT, re.MULTILINE))


@pytest.mark.parametrize(("row", "tests"), FOUND_SINCE)
def test_a_row_found_since_says_how_many_more_tests_it_has(row: str, tests: str) -> None:
    named = len(re.findall(r"`tests/[\w/]+\.py::\w+`", tests))
    said = re.search(r"\(and (\d+) more\)", tests)
    assert named + int(said[1] if said else 0) == CODES[row]


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^\s*(async )?def {name}\(", source, re.MULTILINE), f"{path}::{name}"
