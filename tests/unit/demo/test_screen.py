"""What the demo shows: alive on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from consumer.demo.dataset import Comparison
from consumer.demo.screen import Screen, Step, open_screen, print_result

GOOD = [Comparison("sessions", 1000, 1000), Comparison("dead letters", 0, 0)]
BAD = [*GOOD, Comparison("events", 1000, 999)]


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)


def written(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_piped_steps_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with open_screen(console(terminal=False)) as screen, screen.step(Step.TOPICS) as step:
        step.result = "went well"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "create the topics …"
    assert lines[1].startswith("  went well (")


def test_piped_progress_is_told_once_a_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    with open_screen(console(terminal=False)) as screen:
        screen.events = 1000
        for screen.stored in range(0, 1001, 10):
            screen.changed()
    assert capsys.readouterr().out.splitlines() == [
        f"  {count} of 1,000 events are stored" for count in ("250", "500", "750", "1,000")
    ]


def test_on_a_terminal_all_steps_are_there_from_the_beginning() -> None:
    out = console(terminal=True)
    with open_screen(out) as screen, screen.step(Step.READ):
        pass
    assert all(step in written(out) for step in Step)


def test_a_drawing_shows_how_far_it_is() -> None:
    out = console(terminal=False)
    screen = Screen(out)
    screen.total, screen.published, screen.events, screen.stored = 2000, 1500, 1000, 250
    out.print(screen)
    assert "1500/2000" in written(out)
    assert "250/1000" in written(out)


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
def test_a_report_says_whether_everything_agrees(terminal: bool) -> None:
    for comparisons, verdict in ((GOOD, "Everything agrees."), (BAD, "Something does not agree.")):
        out = console(terminal=terminal)
        agrees = print_result(out, comparisons, [Text("12:00  user  hello")], 12.3)
        assert agrees is (comparisons is GOOD)
        assert verdict in written(out)
        assert "hello" in written(out)


def test_a_piped_report_marks_what_is_wrong() -> None:
    out = console(terminal=False)
    print_result(out, BAD, [], 1.0)
    assert "events: expected 1,000, found 999: WRONG" in written(out)
    assert "sessions: expected 1,000, found 1,000: ok" in written(out)
