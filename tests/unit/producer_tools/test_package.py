"""Importing the publisher costs an application little, and loads nothing of the consumer's own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import producer_tools

UNWANTED = ("bson", "motor", "prometheus_client", "pymongo", "rich", "structlog", "typer")

MEASURE = """
import json, sys, time
began = time.perf_counter()
from producer_tools import Publisher
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules)}))
"""


def modules_after(source: str) -> tuple[float, set[str]]:
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    said = json.loads(ran.stdout)
    return said["seconds"], {name.partition(".")[0] for name in said["modules"]}


def test_the_publisher_loads_no_database_driver_and_no_terminal_library() -> None:
    seconds, modules = modules_after(MEASURE)
    print(f"import of Publisher: {seconds:.3f} s")  # noqa: T201 -- measured, not asserted
    assert modules.isdisjoint(UNWANTED)
    assert "aiokafka" in modules


def test_the_package_itself_loads_nothing_large() -> None:
    _, modules = modules_after(
        MEASURE.replace("from producer_tools import Publisher", "import producer_tools")
    )
    assert modules.isdisjoint((*UNWANTED, "aiokafka", "asyncio", "pydantic"))


@pytest.mark.parametrize("name", producer_tools.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(producer_tools, name) is not None


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Consumer'"):
        _ = producer_tools.Consumer  # type: ignore[attr-defined]
