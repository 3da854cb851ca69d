"""``-p tests.mutants.first_red``: of a test that has turned red, no more parameters are run."""

from __future__ import annotations

import pytest

_RED: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what has failed, or could not even begin."""
    if report.failed:
        _RED.add(report.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave an item out if each test on the command line that it is of has turned red."""
    named = [test for test in item.config.args if item.nodeid.startswith(test)]
    red = [test for test in named if any(one.startswith(test) for one in _RED)]
    return True if named and red == named else None
