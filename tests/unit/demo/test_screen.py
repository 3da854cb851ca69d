"""What the demo shows: lines everywhere, and bars below them on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from consumer.demo.dataset import Comparison
from consumer.demo.screen import Screen, print_result

GOOD = [Comparison("sessions", 1000, 1000), Comparison("dead letters", 0, 0)]
BAD = [*GOOD, Comparison("events", 1000, 999)]


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)


def written(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_steps_are_lines() -> None:
    out = console(terminal=False)
    with (screen := Screen(out)).bars:
        screen.begin("create the topics")
        screen.done("went well")
    lines = written(out).splitlines()
    assert lines[0] == "create the topics …"
    assert lines[1].startswith("  went well (")


def test_progress_is_told_once_a_quarter() -> None:
    out = console(terminal=False)
    with (screen := Screen(out)).bars:
        screen.events = 1000
        for screen.stored in range(0, 1001, 10):
            screen.changed()
    assert written(out).rstrip().splitlines() == [  # older versions of rich end with an empty line
        f"  {count} of 1,000 events are stored" for count in ("250", "500", "750", "1,000")
    ]


def test_a_terminal_also_shows_how_far_it_is() -> None:
    out = console(terminal=True)
    with (screen := Screen(out)).bars:
        screen.total, screen.published, screen.events, screen.stored = 2000, 1500, 1000, 250
        screen.changed()
        screen.bars.refresh()
    assert "1500/2000" in written(out)
    assert "250/1000" in written(out)
    assert "250 of 1,000 events are stored" in written(out)


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
def test_a_report_says_whether_everything_agrees(terminal: bool) -> None:
    for comparisons, verdict in ((GOOD, "Everything agrees."), (BAD, "Something does not agree.")):
        out = console(terminal=terminal)
        agrees = print_result(out, comparisons, [Text("12:00  user  hello")], 12.3)
        assert agrees is (comparisons is GOOD)
        assert verdict in written(out)
        assert "hello" in written(out)


def test_a_report_marks_what_is_wrong() -> None:
    out = console(terminal=False)
    print_result(out, BAD, [], 1.0)
    assert "events: expected 1,000, found 999: WRONG" in written(out)
    assert "sessions: expected 1,000, found 1,000: ok" in written(out)


def test_what_to_try_next_can_be_typed_outside_the_virtual_environment_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = console(terminal=False)
    monkeypatch.setenv("PATH", "")
    print_result(out, GOOD, [], 1.0)
    assert "/bin/activate:\n  consumer demo --all" in written(out)
