"""One mistake, where it is planted and who must notice."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from tests.known_tests import ROOT, KnownTest, known_tests
from tests.simulation.regressions import REGRESSIONS

PACKAGES = ("consumer", "producer_tools")
CLOSING = frozenset(")]}")
SCHEDULES = (
    "tests/simulation/test_simulation.py::test_a_schedule_in_which_a_mistake_did_harm_does_none[{}]"
)
_LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


class StaleMutantError(Exception):
    """The code that a mutant changes is not there, or not only once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """``fragment`` stands once in what ``where`` names, and ``planted`` takes its place.

    ``where``: a function, method, class or constant of the product by the end of its dotted name
    that is enough to know it (``Ledger.settle``), or a file. A fragment is found token by token:
    spaces, line breaks, comments and a last comma do not matter, nor does the file. Lines after
    the first are indented relative to the line on which the fragment begins.

    ``noticed_by``: the tests that must turn red, each by the end of its id that is enough to know
    it. ``other_rows`` of docs/reliability.md say what would come of it; none: those that its
    tests hold.
    """

    name: str
    where: str
    fragment: str
    planted: str
    why: str
    noticed_by: tuple[str, ...]
    other_rows: str = ""

    @property
    def tests(self) -> tuple[str, ...]:
        """The ids of the tests, with the simulated schedule that is kept for the mistake."""
        found = [_test_id(one) for one in self.noticed_by]
        if self.name in REGRESSIONS:
            found.append(SCHEDULES.format(self.name.replace(" ", "-")))
        return tuple(found)

    @property
    def rows(self) -> str:
        """The rows of docs/reliability.md that it would break."""
        held = [row for one in self.noticed_by for test in _known(one) for row in test.rows]
        return self.other_rows or " ".join(
            sorted(set(held), key=lambda row: (row[0], int(row[1:])))
        )

    def without_servers(self) -> Mutant:
        """Return it with those of its tests alone that need no Apache Kafka."""
        kept = (one for one in self.noticed_by if not any(map(_needs_kafka, _known(one))))
        return replace(self, noticed_by=tuple(kept))

    def changed(self) -> tuple[Path, str]:
        """Return the file, relative to the project, and its text with the mistake in it.

        Raises ``StaleMutantError``.
        """
        place = place_of(self.where)
        text = (ROOT / place.file).read_text(encoding="utf-8")
        if place.file.suffix == ".py":
            spans = list(occurrences(text, place, self.fragment))
        else:
            found = re.finditer(re.escape(self.fragment), text)
            spans = [match.span() for match in found]
        if len(spans) != 1:
            raise StaleMutantError(
                f"{self.name}: its fragment stands {len(spans)} times in {self.where}"
            )
        start, end = spans[0]
        line = text[text.rfind("\n", 0, start) + 1 : start]
        indent = line[: len(line) - len(line.lstrip())]
        planted = re.sub(r"\n(?=[^\n])", "\n" + indent, self.planted)
        return place.file, text[:start] + planted + text[end:]


def mutant(
    name: str, where: str, fragment: str, planted: str, why: str, *tests: str, rows: str = ""
) -> Mutant:
    """Make a mutant."""
    return Mutant(name, where, fragment, planted, why, tests, rows)


def never(name: str, where: str, branch: str, why: str, *tests: str, rows: str = "") -> Mutant:
    """Let a branch, told by the line that begins it, never be taken."""
    return Mutant(name, where, branch, f"{branch.split(maxsplit=1)[0]} False:", why, tests, rows)


def without(name: str, where: str, fragment: str, why: str, *tests: str, rows: str = "") -> Mutant:
    """Leave statements, or a part of an expression, away."""
    whole = False
    with suppress(SyntaxError):
        whole = bool(ast.parse(fragment)) and not fragment.endswith(",")
    return Mutant(name, where, fragment, "pass" if whole else "", why, tests, rows)


def _known(test: str) -> Sequence[KnownTest]:
    """Return the test that is meant, or all those of a file. Raises ``StaleMutantError``."""
    name = test.partition("[")[0]
    if name.endswith(".py"):
        return [one for one in known_tests() if one.id.startswith(f"{name}::")]
    found = [one for one in known_tests() if one.id.endswith((f"/{name}", f"::{name}"))]
    if len(found) != 1:
        raise StaleMutantError(f"{len(found)} tests are called {name}")
    return found


def _test_id(test: str) -> str:
    name, bracket, parameters = test.partition("[")
    return name if name.endswith(".py") else _known(name)[0].id + bracket + parameters


def _needs_kafka(test: KnownTest) -> bool:
    return bool(test.marks & {"real_kafka", "kafka_control", "mongodb_control"})


class Place(NamedTuple):
    """A part of a file: its first line and its last one, counted from 1."""

    file: Path
    first: int
    last: int


@cache
def _places() -> dict[str, list[Place]]:
    """Return the places that each dotted name may mean, by every end of the name."""
    places: dict[str, list[Place]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            file = path.relative_to(ROOT)
            module = ".".join(file.with_suffix("").parts)
            for name, place in _named(ast.parse(path.read_text("utf-8")), file, module):
                parts = name.split(".")
                for begin in range(len(parts)):
                    places[".".join(parts[begin:])].append(place)
    return places


def _named(node: ast.AST, file: Path, prefix: str) -> Iterator[tuple[str, Place]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                first = min([child.lineno, *(one.lineno for one in child.decorator_list)])
                name = f"{prefix}.{child.name}"
                yield name, Place(file, first, child.end_lineno or first)
                yield from _named(child, file, name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield (
                    f"{prefix}.{name}",
                    Place(file, child.lineno, child.end_lineno or child.lineno),
                )


def place_of(where: str) -> Place:
    if "/" in where or (ROOT / where).is_file():
        return Place(Path(where), 1, 10**9)
    places = _places().get(where, [])
    if len(places) != 1:
        raise StaleMutantError(f"{len(places)} places in the product are called {where}")
    return places[0]


def _tokens(text: str) -> list[tokenize.TokenInfo]:
    """Return what of a text is not its layout; a fragment may end within brackets."""
    tokens: list[tokenize.TokenInfo] = []
    # A bracket that the fragment opens may stay open.
    with suppress(tokenize.TokenError):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.string in CLOSING and tokens and tokens[-1].string == ",":
                del tokens[-1]
            if token.type not in _LAYOUT:
                tokens.append(token)
    return tokens


def occurrences(text: str, place: Place, fragment: str) -> Iterator[tuple[int, int]]:
    """Give where the fragment stands in the place, as offsets in the text."""
    lines = [line.strip() for line in fragment.removesuffix(",").split("\n")]
    sought = [one.string for one in _tokens("\n".join(lines))]
    there = [one for one in _tokens(text) if place.first <= one.start[0] <= place.last]
    starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    for begin in range(len(there) - len(sought) + 1):
        found = there[begin : begin + len(sought)]
        if [one.string for one in found] == sought:
            first, last = found[0].start, found[-1].end
            end = starts[last[0] - 1] + last[1]
            # A comma at its end is as good as none behind the last of several.
            yield starts[first[0] - 1] + first[1], end + (fragment[-1] == "," == text[end])
