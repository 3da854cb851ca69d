"""The mutants are in step with the code and with the document. What they find is ``make mutants``."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.known_tests import ROOT
from tests.mutants.__main__ import ALL, table
from tests.mutants.mutant import Mutant, Place, StaleMutantError, mutant, occurrences
from tests.simulation.regressions import REGRESSIONS

DOCUMENT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = set(re.findall(r"^\| ([ABF]\d+) \|", DOCUMENT, re.MULTILINE))


def test_no_two_mutants_have_one_name() -> None:
    assert Counter(one.name for one in ALL).most_common(1)[0][1] == 1


@pytest.mark.parametrize("mutant", ALL, ids=lambda one: one.name.replace(" ", "-"))
def test_the_code_that_a_mutant_changes_is_there_once(mutant: Mutant) -> None:
    file, text = mutant.changed()
    assert text != (ROOT / file).read_text(encoding="utf-8")
    if file.suffix == ".py":
        # One that cannot be compiled turns every test red, and shows nothing.
        compile(text, str(file), "exec")


@pytest.mark.parametrize("mutant", ALL, ids=lambda one: one.name.replace(" ", "-"))
def test_the_tests_that_must_notice_a_mutant_are_there(mutant: Mutant) -> None:
    assert mutant.tests


def test_each_schedule_that_is_kept_has_its_mutant() -> None:
    assert REGRESSIONS.keys() <= {one.name for one in ALL}


def test_the_document_lists_them_all_with_rows_that_it_has() -> None:
    assert {row for one in ALL for row in one.rows.split()} <= ROWS
    assert table(ALL) in DOCUMENT, "python -m tests.mutants --list prints what must stand there"


LAYOUT = "def f(\n    a,\n    b,\n):\n    # why\n    return (\n        a\n    )\n"
WHOLE = Place(Path("f.py"), 1, 9)


def test_a_fragment_is_found_whatever_its_layout() -> None:
    found = list(occurrences(LAYOUT, WHOLE, "def f(a, b):\nreturn (a)"))
    assert found == [(0, len(LAYOUT) - 1)]
    assert len(list(occurrences(LAYOUT, WHOLE, "a"))) == 2
    assert not list(occurrences(LAYOUT, WHOLE, "return b"))


def test_a_name_that_no_code_and_no_test_has_makes_a_mutant_stale() -> None:
    stale = mutant("one", "no_such_function", "a", "b", "", "test_that_is_nowhere")
    with pytest.raises(StaleMutantError, match=r"0 places .* no_such_function"):
        stale.changed()
    with pytest.raises(StaleMutantError, match="0 tests are called test_that_is_nowhere"):
        assert stale.tests
