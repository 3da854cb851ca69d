"""The tree of errors is drawn whole."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

from consumer import errors
from consumer.errors import ConsumerError

ROOT = Path(__file__).parents[2]
DRAWN = re.compile(r"^((?:│   |    )*(?:├── |└── )|)(\w+Error) +(\d|-)  ", re.MULTILINE)


def raised_by_the_product() -> dict[str, type[BaseException]]:
    """Return every class of an exception that a module of the product defines, by its name."""
    found = {}
    for package in ("consumer", "producer_tools"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                    module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
                    found[node.name] = getattr(importlib.import_module(module), node.name)
    return found


def drawn() -> dict[str, tuple[str | None, str]]:
    """Return the drawn errors: each with the one above it, and its exit code."""
    tree: dict[str, tuple[str | None, str]] = {}
    above: list[str] = []
    for indent, name, code in DRAWN.findall(errors.__doc__ or ""):
        del above[len(indent) // 4 :]
        tree[name] = (above[-1] if above else None, code)
        above.append(name)
    return tree


def test_every_error_is_drawn_under_its_parent_with_its_exit_code() -> None:
    expected = {}
    for name, error in raised_by_the_product().items():
        if issubclass(error, ConsumerError):
            (parent,) = error.__bases__
            passes = issubclass(error, errors.TransientError)
            code = "-" if passes else str(int(error.exit_code))
            expected[name] = (None if error is ConsumerError else parent.__name__, code)
    assert drawn() == expected


def test_every_other_exception_is_named() -> None:
    names = set(re.findall(r"\w+Error", errors.__doc__ or ""))
    assert names == set(raised_by_the_product())
