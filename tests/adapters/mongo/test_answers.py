"""How the driver's and the server's answers are read, with answers that no server here gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout

from consumer.contract.kinds import EVENTS, SESSIONS
from consumer.errors import TimedOutError, TransientError
from consumer.mongo.collections import BulkReply, WriteFailure
from consumer.mongo.driver import EncodedDocument, MongoCollections
from consumer.settings.model import MongoSettings
from consumer.state.guards import update_of
from consumer.state.writes import ActivityWrite

CANARY = "a caller's words"


class Scripted:
    """A database whose only answer is known beforehand; its collections have but a name."""

    name = "scripted"

    def __init__(self, answer: Mapping[str, Any] | Exception) -> None:
        self._answer = answer
        self.commands: list[dict[str, Any]] = []

    def get_collection(self, *_: object, **__: object) -> Scripted:
        return self

    def get_database(self, *_: object, **__: object) -> Scripted:
        return self

    async def command(self, command: dict[str, Any]) -> Mapping[str, Any]:
        self.commands.append(command)
        if isinstance(self._answer, Exception):
            raise self._answer
        return {"ok": 1, **self._answer}


async def answer_to(statements: int, answer: Mapping[str, Any] | Exception) -> BulkReply:
    client: Any = Scripted(answer)
    return await MongoCollections(client, MongoSettings()).insert(EVENTS, [b""] * statements)


async def test_commands_are_unordered_and_ask_for_a_majority_and_its_journal() -> None:
    client: Any = Scripted({"n": 1})
    collections = MongoCollections(client, MongoSettings())
    await collections.insert(EVENTS, [b"x"])
    await collections.upsert(SESSIONS, [update_of(ActivityWrite("s"))])
    for command in client.commands:
        assert command["ordered"] is False
        assert command["writeConcern"] == {"w": "majority", "j": True}


def test_an_encoded_document_prints_nothing_of_what_it_holds() -> None:
    assert CANARY not in repr(EncodedDocument(CANARY.encode()))


async def test_an_answer_without_errors_acknowledges_everything() -> None:
    assert await answer_to(3, {"n": 3}) == BulkReply()
    upserted = [{"index": 0, "_id": 1}, {"index": 2, "_id": 2}]
    assert await answer_to(3, {"n": 3, "nModified": 1, "upserted": upserted}) == BulkReply()


async def test_failures_are_read_by_index_without_their_texts() -> None:
    reply = await answer_to(
        4,
        {
            "n": 1,
            "writeErrors": [
                {
                    "index": 0,
                    "code": 11000,
                    "errmsg": CANARY,
                    "keyPattern": {"sessionId": 1, "eventId": 1},
                    "keyValue": {"sessionId": CANARY, "eventId": CANARY},
                },
                {"index": 2, "code": 11000, "errmsg": CANARY},
                {"index": 3, "code": 121, "errmsg": CANARY, "errInfo": {"x": CANARY}},
            ],
        },
    )
    assert reply == BulkReply(
        {
            0: WriteFailure(11000, ("sessionId", "eventId")),
            2: WriteFailure(11000),
            3: WriteFailure(121),
        }
    )
    assert CANARY not in repr(reply)


async def test_a_write_concern_error_is_seen_beside_failures() -> None:
    reply = await answer_to(
        2,
        {
            "writeErrors": [{"index": 0, "code": 11000, "keyPattern": {"sessionId": 1}}],
            "writeConcernError": {"code": 64, "errmsg": CANARY, "errInfo": {"wtimeout": True}},
        },
    )
    assert reply == BulkReply({0: WriteFailure(11000, ("sessionId",))}, write_concern_code=64)


async def test_a_write_concern_error_without_a_code_is_one_all_the_same() -> None:
    reply = await answer_to(1, {"n": 1, "writeConcernError": {"errmsg": CANARY}})
    assert reply.write_concern_code == 0


async def test_a_failure_without_a_code_is_one_all_the_same() -> None:
    reply = await answer_to(1, {"n": 0, "writeErrors": [{"index": 0, "errmsg": CANARY}]})
    assert reply == BulkReply({0: WriteFailure(0)})


@pytest.mark.parametrize(
    ("statements", "answer"),
    [
        (3, {"n": 2}),
        (1, {}),
        (2, {"n": 1}),
        (3, {"n": 1, "writeErrors": [{"index": 0, "code": 121}]}),
    ],
)
async def test_a_statement_that_the_answer_passes_over_is_not_taken_for_applied(
    statements: int, answer: Mapping[str, Any]
) -> None:
    with pytest.raises(TransientError, match="incomplete_reply"):
        await answer_to(statements, answer)


async def test_no_answer_is_trouble_that_passes() -> None:
    with pytest.raises(TransientError, match="AutoReconnect"):
        await answer_to(1, AutoReconnect("x"))
    with pytest.raises(TimedOutError, match="NetworkTimeout"):
        await answer_to(1, NetworkTimeout("x"))
