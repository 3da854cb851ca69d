"""Mistakes of the producer's tools, and of what the commands print."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PRINTED = "tests/unit/test_printable.py::"

MUTANTS = (
    Mutant(
        "directional controls count as plainly visible",
        "F84",
        "consumer/printable.py",
        "char if char.isprintable() else _escape(char) for char in line",
        "char if char >= ' ' and char != '\\x7f' else _escape(char) for char in line",
        (_PRINTED + "test_f84_no_command_prints_raw_what_came_from_outside",),
        "a line could be shown in another order than it has, or end where it does not",
    ),
    Mutant(
        "the topic that a dead letter names is printed as it is",
        "F84",
        "consumer/operations/explain.py",
        'return f"{printable(topic)}-{partition} @ {offset}"',
        'return f"{topic}-{partition} @ {offset}"',
        (_PRINTED + "test_f84_no_command_prints_raw_what_came_from_outside[_explain]",),
        "whoever may write to the dead-letter topic could rewrite an operator's screen",
    ),
    Mutant(
        "a complaint is written as it is",
        "F84",
        "producer_tools/console.py",
        "sys.stderr.write(printable_line(text) + ",
        "sys.stderr.write(text + ",
        (_PRINTED + "test_f84_no_command_prints_raw_what_came_from_outside[_complain]",),
        "the name of a file or a broker's answer could rewrite an operator's screen",
    ),
)
