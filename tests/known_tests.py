"""Which tests there are, and how they are marked: read from their files, none is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class KnownTest:
    """A test function: its id without parameters, and the rows of docs/reliability.md it holds.

    ``marks``: names of the marks of the function, of its class and of its file.
    """

    id: str
    marks: frozenset[str]
    rows: tuple[str, ...]


@cache
def known_tests() -> Sequence[KnownTest]:
    """Return every test function below tests/."""
    found: list[KnownTest] = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        marks = [
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        ]
        inside = _functions_in(tree, str(path.relative_to(ROOT)), marks)
        found += (one for one in inside if "::test_" in one.id)
    return found


def _functions_in(
    node: ast.Module | ast.ClassDef, prefix: str, marks: Sequence[ast.expr]
) -> Iterator[KnownTest]:
    for child in node.body:
        match child:
            case ast.ClassDef(name=name, decorator_list=own):
                yield from _functions_in(child, f"{prefix}::{name}", [*marks, *own])
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                said = [ast.unparse(one) for one in [*marks, *child.decorator_list]]
                # Those of single parameters are not the function's.
                text = "\n".join(one for one in said if not one.startswith("pytest.mark.param"))
                rows = re.findall(r"pytest\.mark\.reliability\((.*)\)", text)
                yield KnownTest(
                    f"{prefix}::{name}",
                    frozenset(re.findall(r"pytest\.mark\.(\w+)", text)),
                    tuple(row for one in rows for row in re.findall(r"\w+", one)),
                )
