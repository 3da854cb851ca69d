"""A reader finds a thing by its name, and reads it in one sitting."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 400
LONGEST_FUNCTION = 45

MODULES = {
    path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8"))
    for package in ("consumer", "producer_tools")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def twice(names: list[tuple[str, Path]]) -> dict[str, list[str]]:
    places = defaultdict(list)
    for name, path in names:
        places[name].append(str(path))
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def test_no_module_name_stands_twice() -> None:
    names = [(path.stem, path) for path in MODULES if not path.stem.startswith("__")]
    assert twice(names) == {}


def test_no_public_class_name_stands_twice() -> None:
    classes = [
        (node.name, path)
        for path, module in MODULES.items()
        for node in module.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert twice(classes) == {}


def test_no_file_is_longer_than_a_reader_takes_in() -> None:
    lengths = {str(path): len((ROOT / path).read_text("utf-8").splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_body_of_a_function_is_longer_than_a_screen() -> None:
    lengths = {
        f"{path}::{node.name}": _lines(node)
        for path, module in MODULES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a body, without those of functions within it."""
    inner = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    within = sum((one.end_lineno or 0) - one.lineno + 1 for one in inner)
    return (node.end_lineno or 0) - node.body[0].lineno + 1 - within


def test_every_module_says_what_is_in_it() -> None:
    mute = [str(path) for path, module in MODULES.items() if module.body and not _told(module)]
    assert mute == []


def _told(module: ast.Module) -> bool:
    return (ast.get_docstring(module) or "").partition("\n")[0].endswith((".", ":"))


def test_what_is_caught_around_the_code_of_users_is_said_in_one_place() -> None:
    caught = [
        str(path)
        for path, module in MODULES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Tuple) and "SystemExit" in {*map(ast.unparse, node.elts)}
    ]
    assert caught == ["consumer/errors.py"]
