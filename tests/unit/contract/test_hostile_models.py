"""Whatever a model does, it decides one message, and what was said is stored or nothing is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Annotated, Any, Literal, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticOmit, PydanticUseDefault

from consumer.contract.decode import Decoded, decode
from consumer.contract.kinds import InsertOnce, Kind, UpsertNewest, set_own_kinds
from consumer.contract.messages import OwnMessage
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.mongo.store import MongoStore
from consumer.state.guards import update_of
from consumer.state.writes import DocumentWrite, plan
from tests.builders import STAMPED_MS
from tests.fakes.collections import MemoryCollections

NAME = "a.hostile"


@pytest.fixture(autouse=True)
def no_kind_left() -> Iterator[None]:
    yield
    set_own_kinds(())


class UnreadableError(ValueError):
    def __str__(self) -> str:
        raise KeyError("private")


def without_end(value: object) -> object:
    return without_end(value)


def as_time(_: object) -> datetime:
    return datetime.now(UTC)


def raising(error: BaseException) -> AfterValidator:
    def validate(_: object) -> NoReturn:
        raise error

    return AfterValidator(validate)


ERRORS: list[BaseException] = [
    KeyError("private"),
    AssertionError("private"),
    RecursionError(),
    MemoryError(),
    StopIteration(),
    UnreadableError(),
    SystemExit(1),
    GeneratorExit(),
    asyncio.CancelledError(),
    PydanticCustomError("odd {kind}", "{odd} {", {"odd": object()}),
    PydanticCustomError("odd", "{odd}", {"odd": "\ud800"}),
    PydanticOmit(),
    PydanticUseDefault(),
]


class Grade(IntEnum):
    GOOD = 1
    BAD = 2


class Hostile(BaseModel):
    sessionId: str  # noqa: N815
    n: int


class Defaulted(Hostile):
    @model_validator(mode="before")
    @classmethod
    def first(cls, said: dict[str, Any]) -> dict[str, Any]:
        return {"n": 1, **said}


class Renamed(Hostile):
    old: Any = None

    @model_validator(mode="before")
    @classmethod
    def rename(cls, said: dict[str, Any]) -> dict[str, Any]:
        return {"n": said.get("old"), **said}


class Replaced(Hostile):
    @model_validator(mode="before")
    @classmethod
    def replace(cls, _: object) -> dict[str, Any]:
        return {"sessionId": "another", "n": 1}


class Described(BaseModel):
    """Its schema has a field that it has not."""

    model_config = ConfigDict(
        json_schema_extra={
            "properties": {"sessionId": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["sessionId", "n"],
        }
    )
    sessionId: str  # noqa: N815


class Telling(Hostile):
    @model_validator(mode="before")
    @classmethod
    def tell(cls, said: dict[str, Any]) -> dict[str, Any]:
        TypeAdapter(dict[str, int]).validate_python(said["n"])
        return said


class Undescribed(Hostile):
    """JSON Schema has true for what may be anything."""

    model_config = ConfigDict(
        json_schema_extra={"properties": {"sessionId": {"type": "string"}, "n": True}}
    )


def with_n(n: object) -> type[BaseModel]:
    fields: dict[str, Any] = {"sessionId": (str, ...), "n": (n, ...)}
    return create_model("Hostile", **fields)


INTEGERS = [
    Defaulted,
    Renamed,
    Replaced,
    Described,
    Telling,
    *map(
        with_n,
        (
            Literal[1, 2],
            Grade,
            Annotated[int, Field(strict=False)],
            Annotated[int, BeforeValidator(int)],
            Annotated[Any, WithJsonSchema({"type": "integer"})],
            Annotated[int, BeforeValidator(without_end)],
            *(Annotated[int, raising(error)] for error in ERRORS),
        ),
    ),
]
TIMES = [
    *map(
        with_n,
        (
            datetime,
            datetime | None,
            Annotated[datetime, Field(strict=False)],
            Annotated[datetime, BeforeValidator(as_time)],
            Annotated[Any, WithJsonSchema({"type": "string", "format": "date-time"})],
        ),
    )
]

values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, 1.0, 2**63, -(2**64), "1", "1KB", "2026-03-04T10:09:00Z"])
    | st.text(st.characters(), max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
messages = st.fixed_dictionaries(
    {"type": st.just(NAME)},
    optional={"sessionId": st.just("s") | values, "n": values, "old": values},
)


def hostile(model: type[BaseModel], **changes: Any) -> Kind:
    write = changes.pop("write", UpsertNewest("n"))
    return Kind(NAME, model, "hostile", ("sessionId",), write, **changes)


def written(message: Mapping[str, Any]) -> DocumentWrite | Rejected:
    source = Record("t", 0, 0, STAMPED_MS, b"s", json.dumps(message).encode())
    decoded = decode(source, KeyPolicy.WARN)
    assert isinstance(decoded, Decoded | Rejected)
    if isinstance(decoded, Rejected):
        return decoded
    assert isinstance(decoded.message, OwnMessage)
    planned = plan(decoded.message, source)
    assert isinstance(planned, DocumentWrite | Rejected)
    return planned


@pytest.mark.reliability("F147")
@given(
    message=messages,
    model=st.sampled_from([*INTEGERS, *TIMES]),
    write=st.sampled_from([UpsertNewest("n"), InsertOnce()]),
)
def test_nothing_that_a_model_does_raises_and_what_is_stored_has_an_order(
    message: dict[str, Any], model: type[BaseModel], write: UpsertNewest | InsertOnce
) -> None:
    set_own_kinds([hostile(model, write=write)])
    planned = written(message)
    if isinstance(planned, Rejected):
        assert planned.reason in {Reason.INVALID, Reason.UNSTORABLE}
        assert planned.detail
        return
    MongoStore(MemoryCollections()).prepare([planned])
    said = {name: value for name, value in message.items() if name in planned.content}
    assert set(planned.content) - {"from"} == set(said)
    if isinstance(write, UpsertNewest):
        assert type(message["n"]) is (str if model in TIMES else int)
        assert update_of(planned).filter["sessionId"] == "s"


@pytest.mark.reliability("F147")
@pytest.mark.parametrize(
    ("model", "said", "detail"),
    [
        (Defaulted, {}, "n: must be an integer"),
        (Renamed, {"old": 1}, "n: must be an integer"),
        (Replaced, {"n": "1"}, "n: must be an integer"),
        (Described, {}, "n: must be an integer"),
        (with_n(Literal[1, 2]), {"n": True}, "n: must be an integer"),
        (with_n(Annotated[Grade, BeforeValidator(Grade)]), {"n": 1.0}, "n: must be an integer"),
        (with_n(Annotated[int, BeforeValidator(int)]), {"n": "10"}, "n: must be an integer"),
        (with_n(Annotated[datetime, BeforeValidator(as_time)]), {"n": 5}, "n: must be a time"),
    ],
)
def test_what_would_be_compared_is_what_was_said_and_not_what_a_model_makes_of_it(
    model: type[BaseModel], said: dict[str, Any], detail: str
) -> None:
    set_own_kinds([hostile(model)])
    assert written({"type": NAME, "sessionId": "s", **said}) == Rejected(Reason.INVALID, detail)


@pytest.mark.reliability("F147")
@pytest.mark.parametrize("error", ERRORS[:11], ids=lambda one: type(one).__name__)
def test_whatever_a_model_raises_makes_one_message_invalid(error: BaseException) -> None:
    set_own_kinds([hostile(with_n(Annotated[int, raising(error)]))])
    found = written({"type": NAME, "sessionId": "s", "n": 1})
    assert isinstance(found, Rejected)
    assert found.reason is Reason.INVALID
    assert "private" not in found.detail


@pytest.mark.reliability("F148")
@pytest.mark.parametrize("error", ERRORS[:9], ids=lambda one: type(one).__name__)
def test_whatever_an_upcaster_raises_makes_one_message_invalid(error: BaseException) -> None:
    def upcast(_: dict[str, Any]) -> NoReturn:
        raise error

    set_own_kinds([hostile(Hostile, upcasters=(upcast,))])
    assert written({"type": NAME, "sessionId": "s", "n": 1}) == Rejected(
        Reason.INVALID, f"schemaVersion: 1 was not read as 2: {type(error).__name__}"
    )


@pytest.mark.reliability("F148")
def test_a_model_that_ends_the_process_where_it_is_described_is_refused() -> None:
    class Ending(Hostile):
        @classmethod
        def __get_pydantic_json_schema__(cls, *_: object) -> NoReturn:
            raise SystemExit(0)

    with pytest.raises(ValueError, match="no JSON Schema: SystemExit"):
        set_own_kinds([hostile(Ending)])


def test_an_interrupt_is_no_mistake_of_a_message() -> None:
    set_own_kinds([hostile(with_n(Annotated[int, raising(KeyboardInterrupt())]))])
    with pytest.raises(KeyboardInterrupt):
        written({"type": NAME, "sessionId": "s", "n": 1})


def test_a_name_that_a_producer_chose_is_not_told() -> None:
    set_own_kinds([hostile(Telling, write=InsertOnce())])
    found = written({"type": NAME, "sessionId": "s", "n": {"private": "x"}})
    assert found == Rejected(Reason.INVALID, "the message: int_parsing")


@pytest.mark.reliability("F147")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": with_n(datetime | int)}, "no order"),
        ({"model": with_n(datetime | list[datetime])}, "no order"),
        ({"model": with_n(datetime | str)}, "no order"),
        ({"model": Undescribed, "write": InsertOnce()}, "no JSON Schema: AttributeError"),
        ({"model": with_n(datetime | int), "write": InsertOnce(), "time": "n"}, "a datetime"),
        (
            {"model": with_n(datetime), "write": InsertOnce(), "identity": ("sessionId", "n")},
            "be text",
        ),
        ({"model": Defaulted, "example": {"sessionId": "s"}}, "its example: n: must be an integer"),
        (
            {"model": Replaced, "write": InsertOnce(), "example": {"n": 1}},
            "its example: sessionId: must be text",
        ),
    ],
)
def test_a_kind_whose_messages_could_differ_in_type_is_refused(
    changes: dict[str, Any], problem: str
) -> None:
    kind = {"identity": ("sessionId",), "write": UpsertNewest("n"), **changes}
    with pytest.raises(ValueError, match=problem):
        set_own_kinds([Kind(name=NAME, collection="hostile", **kind)])
