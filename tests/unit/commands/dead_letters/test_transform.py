"""Repairing records with a function of the operator's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.commands.dead_letters.dead_letter_record import FailedRecord
from consumer.commands.dead_letters.transform import TransformError, load_transform, transformed
from consumer.contract.rejection import KeyPolicy, Reason
from tests.unit.commands.dead_letters.builders import EVENT, a_letter, event

SECRET = "what-was-said"  # never to be quoted


def repaired(
    transform: Callable[[FailedRecord], object], policy: KeyPolicy = KeyPolicy.WARN
) -> FailedRecord | None:
    letter = a_letter(
        value=SECRET.encode(),
        headers=(("traceparent", b"1"),),
        reason=Reason.UNDECODABLE,
        detail="not JSON",
    )
    return transformed(transform, letter, policy)


def test_the_function_sees_the_record_as_it_came_and_why_it_failed() -> None:
    seen: list[FailedRecord] = []
    assert repaired(seen.append) is None
    (record,) = seen
    assert (record.key, record.value) == (b"s-1", SECRET.encode())
    assert record.headers == (("traceparent", b"1"),)
    assert (record.reason, record.detail) == ("undecodable", "not JSON")
    assert record.origin == ("conversation.events", 0, 0)


@pytest.mark.parametrize(
    "returned",
    [
        pytest.param(event(), id="bytes"),
        pytest.param(bytearray(event()), id="bytearray"),
        pytest.param(event().decode(), id="text"),
        pytest.param(EVENT, id="object"),
    ],
)
def test_bytes_text_or_an_object_become_the_new_value(returned: object) -> None:
    record = repaired(lambda _: returned)
    assert record is not None
    assert record.value is not None
    assert json.loads(record.value) == EVENT
    assert (record.key, record.headers) == (b"s-1", (("traceparent", b"1"),))


def test_a_replaced_record_may_have_another_key_and_other_headers() -> None:
    record = repaired(
        lambda failed: replace(failed, key=b"s-9", value=event(sessionId="s-9"), headers=()),
        KeyPolicy.DEAD_LETTER,
    )
    assert record is not None
    assert (record.key, record.headers) == (b"s-9", ())


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (b"not json", "undecodable"),
        (b"[]", "undecodable"),
        ({"type": "event.recorded"}, "invalid: .*sessionId"),
        ({**EVENT, "type": "session.haunted"}, "unsupported_type"),
        ({**EVENT, "schemaVersion": 2}, "unsupported_version"),
        ({**EVENT, "sessionId": "s-9"}, "key_mismatch"),
        ({**EVENT, "payload": {1, 2}}, "not JSON"),
        ({**EVENT, "payload": {"n": float("nan")}}, "not JSON"),
        ({**EVENT, "payload": {"text": "\ud800"}}, "not JSON"),
        (5, "returned a int"),
        ([EVENT], "returned a list"),
    ],
)
def test_what_the_consumer_would_refuse_is_an_error_that_quotes_nothing(
    returned: object, why: str
) -> None:
    with pytest.raises(TransformError, match=why) as raised:
        repaired(lambda _: returned, KeyPolicy.DEAD_LETTER)
    assert "hello" not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "text"},
        {"value": "text"},
        {"headers": None},
        {"headers": ("ab",)},
        {"headers": ((b"name", b""),)},
        {"headers": (("name", "text"),)},
    ],
)
def test_a_replaced_record_with_wrong_types_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(TransformError, match=r"not bytes|not pairs"):
        repaired(lambda failed: replace(failed, **{"value": event(), **changes}))  # type: ignore[arg-type]  # on purpose


def test_a_replaced_record_without_a_value_is_an_error_since_the_consumer_would_skip_it() -> None:
    with pytest.raises(TransformError, match="no value"):
        repaired(lambda failed: replace(failed, value=None))


def test_an_exception_is_named_with_its_line_and_without_its_text() -> None:
    def fail(failed: FailedRecord) -> object:
        raise ValueError(failed.value)

    with pytest.raises(TransformError, match=r"ValueError at test_transform\.py:\d+") as raised:
        repaired(fail)
    assert SECRET not in str(raised.value)


@pytest.mark.reliability("F148")
def test_a_function_that_would_end_the_command_as_if_all_were_done_is_an_error() -> None:
    def leave(_: FailedRecord) -> object:
        sys.exit(0)

    with pytest.raises(TransformError, match=r"SystemExit at test_transform\.py:\d+"):
        repaired(leave)


def test_a_missing_time_is_the_first_records_time_and_no_problem() -> None:
    assert repaired(lambda _: EVENT) is not None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory. Modules that a test imports from it are forgotten again."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_function_is_imported_from_the_current_directory(folder: Path) -> None:
    (folder / "repair_here.py").write_text("class Fix:\n    @staticmethod\n    def it(r): ...\n")
    assert repaired(load_transform("repair_here:Fix.it")) is None


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("repair", "MODULE:FUNCTION"),
        (":fix", "MODULE:FUNCTION"),
        ("no_such_module_here:fix", "ModuleNotFoundError"),
        ("broken_module:fix", "ZeroDivisionError"),
        ("program:fix", "SystemExit"),
        ("json:no_such_function", "AttributeError"),
        ("json:__name__", "no function"),
        ("wrong:of_none", "takes other arguments"),
        ("wrong:of_two", "takes other arguments"),
        ("wrong:later", "write it without async"),
        ("wrong:partly_later", "write it without async"),
        ("wrong:streams", "write it without async"),
        ("wrong:yields", "yields"),
    ],
)
def test_a_function_that_cannot_be_had_is_refused_in_words(
    folder: Path, reference: str, why: str
) -> None:
    (folder / "broken_module.py").write_text("1 / 0\n")
    (folder / "program.py").write_text("raise SystemExit(0)\n")
    (folder / "wrong.py").write_text(
        "import functools\n"
        "def of_none(): ...\ndef of_two(failed, why): ...\nasync def later(failed): ...\n"
        "partly_later = functools.partial(later)\n"
        "async def streams(failed): yield\ndef yields(failed): yield\n"
    )
    with pytest.raises(ValueError, match=why):
        load_transform(reference)
