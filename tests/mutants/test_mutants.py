"""The mutants are in step with the code and with the document. What they find is ``make mutants``."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.mutants.__main__ import ALL, table
from tests.mutants.mutant import Mutant
from tests.mutants.trees import ROOT
from tests.simulation.regressions import REGRESSIONS

DOCUMENT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = set(re.findall(r"^\| ([ABF]\d+) \|", DOCUMENT, re.MULTILINE))


def test_no_two_mutants_have_one_name() -> None:
    assert Counter(one.name for one in ALL).most_common(1)[0][1] == 1


@pytest.mark.parametrize("mutant", ALL, ids=lambda one: one.name.replace(" ", "-"))
def test_the_code_that_a_mutant_changes_is_there_once(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.original) == 1
    assert mutant.planted != mutant.original
    if mutant.file.endswith(".py"):
        # One that cannot be compiled turns every test red, and shows nothing.
        compile(text.replace(mutant.original, mutant.planted), mutant.file, "exec")


@pytest.mark.parametrize("mutant", ALL, ids=lambda one: one.name.replace(" ", "-"))
def test_the_tests_that_must_notice_a_mutant_are_there(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8")
        function = name.rpartition("::")[2].partition("[")[0]
        assert not name or re.search(rf"^\s*(async )?def {function}\(", source, re.MULTILINE), test


def test_each_schedule_that_is_kept_has_its_mutant() -> None:
    assert REGRESSIONS.keys() <= {one.name for one in ALL}


def test_the_document_lists_them_all_with_rows_that_it_has() -> None:
    assert {row for one in ALL for row in one.rows.split()} <= ROWS
    assert table(ALL) in DOCUMENT, "python -m tests.mutants --list prints what must stand there"
