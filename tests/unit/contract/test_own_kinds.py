"""A kind that a team declares is read, described and sent like one of the contract's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from random import random
from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import AfterValidator, AliasChoices, BaseModel, Field

from consumer.contract.asyncapi import TopicNames, asyncapi_document
from consumer.contract.decode import Decoded, decode
from consumer.contract.encode import CloudEventsFormat, as_cloud_event, encode_json, message_fields
from consumer.contract.json_schemas import message_schema
from consumer.contract.kinds import InsertOnce, Kind, SetOnce, UpsertNewest, set_own_kinds
from consumer.contract.messages import OwnMessage
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.settings.model import KafkaSettings
from consumer.state.writes import plan
from producer_tools.outgoing_message import InvalidMessageError, Stream, prepare_message
from producer_tools.publisher import Publisher
from tests.builders import STAMPED_MS, record
from tests.own_kinds import ACME, installed, rated, scored, summarized
from tests.own_kinds.acme_kinds import RATED, SUMMARIZED, Rating, Summary
from tests.own_kinds.more_kinds import SCORED


@pytest.fixture(autouse=True)
def acme() -> Iterator[None]:
    with installed(**ACME):
        yield


def read(message: dict[str, Any]) -> OwnMessage:
    decoded = decode(record(message), KeyPolicy.DEAD_LETTER)
    assert isinstance(decoded, Decoded), decoded
    assert isinstance(decoded.message, OwnMessage)
    return decoded.message


def refused(message: dict[str, Any]) -> Rejected:
    decoded = decode(record(json.dumps(message).encode()), KeyPolicy.WARN)
    assert isinstance(decoded, Rejected), decoded
    return decoded


def test_what_was_said_is_kept_with_times_as_times() -> None:
    said = rated(ratedAt="2026-03-04T11:09:00.5009+01:00", comment="fine", unknown=1)
    message = read(said)
    assert message.fields == {
        "sessionId": "s",
        "ratingId": "r",
        "stars": 4,
        "comment": "fine",
        "ratedAt": datetime(2026, 3, 4, 10, 9, 0, 500_000, tzinfo=UTC),
    }
    assert not message.time_defaulted


def test_what_was_said_is_kept_whatever_the_model_makes_of_it() -> None:
    class Drawn(BaseModel):
        sessionId: str  # noqa: N815
        drawn: float = Field(default_factory=random)
        note: Annotated[str, AfterValidator(str.upper)]

    set_own_kinds([Kind("a.drawn", Drawn, "drawn", ("sessionId",), InsertOnce())])
    fields = read({"type": "a.drawn", "sessionId": "s", "note": "as said"}).fields
    assert fields == {"sessionId": "s", "note": "as said"}


@pytest.mark.parametrize("comment", ["\ud800", "x" * (16 * 1024 * 1024)])
def test_what_no_document_can_hold_is_unstorable(comment: str) -> None:
    source = record(json.dumps(rated(comment=comment)).encode())
    decoded = decode(source, KeyPolicy.WARN)
    assert isinstance(decoded, Decoded)
    planned = plan(decoded.message, source)
    assert isinstance(planned, Rejected)
    assert planned.reason is Reason.UNSTORABLE


def test_a_time_that_is_not_said_is_the_records() -> None:
    message = read(rated(ratedAt=None))
    assert message.fields["ratedAt"] == datetime.fromtimestamp(STAMPED_MS / 1000, UTC)
    assert message.time_defaulted


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        (rated(stars=6), "stars: less_than_equal"),
        (rated(stars=6, comment="\ud800"), "stars: less_than_equal"),  # unstorable comes behind
        (rated(stars="\ud800"), "stars: int_type"),
        (rated(stars="4"), "stars: int_type"),
        (rated(stars=None), "stars: missing"),
        (rated(ratingId=""), "ratingId: must not be empty"),
        (rated(ratingId="x" * 257), "ratingId: too long"),
        (rated(ratingId=3), "ratingId: must be text"),
        (rated(ratedAt="yesterday"), "ratedAt: must be a time of RFC 3339"),
        (summarized(text=5), "text: string_type"),
        ({**summarized(), "revision": 1.0}, "revision: int_type"),
        (summarized(topics=["a", 5]), "topics: string_type"),
        (summarized(schemaVersion=0), "schemaVersion: must be an integer"),
    ],
)
def test_what_the_model_refuses_is_invalid_and_names_fields_only(
    message: dict[str, Any], detail: str
) -> None:
    found = refused(message)
    assert found.reason is Reason.INVALID
    assert found.detail.startswith(detail)


def test_a_later_version_of_an_own_kind_is_unsupported() -> None:
    assert refused(rated(schemaVersion=2)).reason is Reason.UNSUPPORTED_VERSION


def test_an_upcaster_of_an_own_kind_makes_an_older_message_one_of_the_newest() -> None:
    def renamed(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "text": fields["summary"]}

    set_own_kinds([replace(SUMMARIZED, upcasters=(renamed,))])
    assert read(summarized(text=None, summary="old")).fields["text"] == "old"
    assert read(summarized(schemaVersion=2)).fields["text"] == "short"
    set_own_kinds([SUMMARIZED])
    assert refused(summarized(schemaVersion=2)).reason is Reason.UNSUPPORTED_VERSION


def test_a_validator_that_fails_in_its_own_way_is_an_invalid_message() -> None:
    class Odd(BaseModel):
        sessionId: str  # noqa: N815

        def model_post_init(self, _: object) -> None:
            raise KeyError("private")

    set_own_kinds([Kind("a.b", Odd, "odd", ("sessionId",), InsertOnce())])
    found = refused({"type": "a.b", "sessionId": "s"})
    assert found == Rejected(Reason.INVALID, "its model raises KeyError")


@pytest.mark.parametrize("message", [rated(), rated(ratedAt=None), summarized(topics=["a"])])
@pytest.mark.parametrize("structured", [False, True])
def test_what_is_sent_is_read_again_bare_and_as_a_cloud_event(
    message: dict[str, Any], structured: bool
) -> None:
    said = read(message)
    fields = message_fields(said)
    assert {**fields} == message
    wrapped = as_cloud_event(fields, said, CloudEventsFormat("/acme", structured, "com.acme."))
    again = decode(
        Record("t", 0, 0, STAMPED_MS, b"s", wrapped.value, wrapped.headers), KeyPolicy.DEAD_LETTER
    )
    assert again == Decoded(said, key_mismatch=False)


@pytest.mark.parametrize("message", [rated(), rated(ratedAt=None), summarized()])
def test_the_schema_takes_what_is_read_and_refuses_what_is_not(message: dict[str, Any]) -> None:
    schema = jsonschema.Draft202012Validator(message_schema(message["type"]))
    assert schema.is_valid(json.loads(encode_json(message)))
    for name in message.keys() - {"ratedAt"}:
        less = {key: value for key, value in message.items() if key != name}
        assert not schema.is_valid(less)
    assert not schema.is_valid({**message, "sessionId": ""})


def test_the_asyncapi_document_tells_of_own_kinds() -> None:
    document = asyncapi_document(TopicNames("s", "e", "d"), "1")
    forms = {"SessionRated", "SessionRatedBinary", "SessionRatedStructured", "SessionSummarized"}
    assert forms <= document["channels"]["sessions"]["messages"].keys()
    assert not forms & document["channels"]["events"]["messages"].keys()
    messages = document["components"]["messages"]
    assert messages["SessionRated"]["examples"][0]["payload"]["stars"] == 4
    assert "examples" not in messages["SessionSummarized"]


@pytest.mark.parametrize("form", [None, CloudEventsFormat("/acme")])
def test_a_producer_sends_own_kinds_with_the_session_as_key(form: CloudEventsFormat | None) -> None:
    outgoing = prepare_message(rated(), form=form)
    assert (outgoing.stream, outgoing.key) == (Stream.SESSIONS, b"s")
    with pytest.raises(InvalidMessageError, match="stars: less_than_equal"):
        prepare_message(rated(stars=6), form=form)


def test_a_producer_is_told_of_a_kind_that_is_not_installed() -> None:
    said = OwnMessage("a.b", "s", {"sessionId": "s"})
    with pytest.raises(InvalidMessageError, match="unsupported_type: type: not a known kind"):
        prepare_message(said)
    with pytest.raises(InvalidMessageError, match="unsupported_type: type: not a known kind"):
        prepare_message({"type": "a.b", "sessionId": "s"})


def cloud_event_id(message: dict[str, Any]) -> bytes | None:
    headers = prepare_message(message, form=CloudEventsFormat("/acme")).headers
    return dict(headers)["ce_id"]


def test_messages_that_differ_have_cloud_event_ids_that_differ() -> None:
    def renamed(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "revision": fields.get("number")}

    set_own_kinds([replace(SUMMARIZED, upcasters=(renamed,)), SCORED])
    older = [summarized() | {"revision": None, "number": number} for number in (1, 2)]
    assert list(map(cloud_event_id, older)) == [
        b"s/session.summarized/1",
        b"s/session.summarized/2",
    ]
    newest = summarized(revision=1, schemaVersion=2)
    assert cloud_event_id(newest) == cloud_event_id(older[0])
    assert cloud_event_id(scored()) == b"s/session.scored/j/p/2026-03-04T10:09:00Z"
    without_time = [scored(judgedAt=None, score=score) for score in (0.5, 0.5, 1.0)]
    first, again, other = map(cloud_event_id, without_time)
    assert first == again != other


def test_a_publisher_with_settings_of_its_own_knows_the_installed_kinds() -> None:
    set_own_kinds(())
    Publisher(KafkaSettings())
    assert prepare_message(summarized()).key == b"s"


class Nested(BaseModel):
    sessionId: str  # noqa: N815
    inner: list[Nested] = []


class Reserved(Summary):
    expireAt: datetime  # noqa: N815


class Aliased(BaseModel):
    sessionId: str  # noqa: N815
    a: int = Field(validation_alias=AliasChoices("b", "c"))  # type: ignore[pydantic-alias]  # that is what is refused


class Loose(BaseModel):
    sessionId: str  # noqa: N815
    revision: int | None = None
    count: int = 0
    size: float


async def later(value: Any) -> Any:
    return value


class Rated(BaseModel):
    sessionId: str  # noqa: N815
    ratings: list[Annotated[int, AfterValidator(later)]]


def loose(**changes: Any) -> Kind:
    kind = Kind("a.loose", Loose, "loose", ("sessionId",), InsertOnce())
    return replace(kind, **changes)


@pytest.mark.reliability("F140")
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (replace(RATED, name="session.created"), "another kind of this name"),
        (replace(RATED, name="Rated"), "lower-case words"),
        (replace(RATED, name="session.rated.v2"), "no version"),
        (replace(RATED, name="acme.session.created"), "could not be told apart"),
        (replace(RATED, name="acme.session.summarized"), "could not be told apart"),
        (replace(RATED, collection="events"), "another kind's"),
        (replace(RATED, collection="conversation_sessions"), "another kind's"),
        (replace(RATED, collection="session_summaries"), "another kind's"),
        *(
            (replace(RATED, collection=name), "name of a collection")
            for name in ("$cmd", "a.", "a..b", ".a", "system.a", "a\n", "x" * 121)
        ),
        (replace(RATED, model=dict), "pydantic.BaseModel"),
        (replace(RATED, identity=("sessionId", "rating")), "no field of its model"),
        (replace(RATED, identity=("ratingId",)), "must be sessionId"),
        (replace(RATED, identity=()), "must be sessionId"),
        (replace(RATED, identity=("sessionId", "stars")), "identity 'stars' must be text"),
        (replace(RATED, identity=("sessionId", "comment")), "identity 'comment' must be text"),
        (replace(RATED, time="comment"), "that is a datetime"),
        (replace(RATED, time="nothing"), "that is a datetime"),
        (replace(RATED, example={"sessionId": "s"}), "its example: ratingId: missing"),
        (replace(RATED, write=SetOnce("stars", None)), "InsertOnce"),
        (replace(RATED, write=UpsertNewest(by="comment")), "no order"),
        (replace(RATED, write=UpsertNewest(by="ratingId")), "not in its identity"),
        (replace(RATED, write=UpsertNewest(by="nothing")), "by 'nothing' must be a field"),
        (loose(write=UpsertNewest(by="revision")), "no order"),
        (loose(write=UpsertNewest(by="count")), "no order"),
        (loose(write=UpsertNewest(by="size")), "no order"),
        (loose(model=Nested), "must not hold itself"),
        (loose(model=Reserved), "meaning of its own"),
        (loose(model=Aliased), "one name"),
        (loose(model=Rated), "is async: nothing awaits it"),
        (loose(upcasters=(dict, partial(later))), "write it without async"),
        (loose(upcasters=(dict, loose)), "takes other arguments"),
        (loose(upcasters=("v2",)), "is no function"),
    ],
)
def test_a_kind_that_cannot_be_stored_idempotently_beside_the_others_is_refused(
    kind: Kind, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as refusal:
        set_own_kinds([SUMMARIZED, kind], ["conversation_sessions", "conversation_events"])
    assert "\n" not in str(refusal.value)


@pytest.mark.reliability("F140")
@pytest.mark.parametrize("names", [("a.b", "x.a.b"), ("x.a.b", "a.b")])
def test_a_prefix_of_a_cloud_event_makes_no_kind_of_another(names: tuple[str, str]) -> None:
    one, other = (replace(RATED, name=name, collection=name) for name in names)
    with pytest.raises(ValueError, match="could not be told apart"):
        set_own_kinds([one, other])
    set_own_kinds([one, replace(other, name="xa.b")])


@pytest.mark.parametrize("by", ["stars", "ratedAt"])
def test_an_integer_or_a_time_can_say_which_is_the_newest(by: str) -> None:
    set_own_kinds([replace(RATED, write=UpsertNewest(by))])
    assert read(rated()).type == "session.rated"


def test_the_model_of_the_example_is_plain_pydantic() -> None:
    make: Callable[..., Rating] = Rating
    assert make(**{k: v for k, v in rated().items() if k != "type"}).stars == 4
