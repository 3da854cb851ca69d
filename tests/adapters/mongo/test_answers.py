"""How the driver's and the server's answers are read, with answers that no server here gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pymongo import InsertOne
from pymongo.errors import AutoReconnect, BulkWriteError, NetworkTimeout
from pymongo.results import BulkWriteResult

from consumer.errors import TimedOutError, TransientError
from consumer.mongo.collections import BulkReply, WriteFailure
from consumer.mongo.driver import _bulk

CANARY = "a caller's words"


class Scripted:
    """A collection whose only answer is known beforehand."""

    def __init__(self, answer: Mapping[str, Any] | Exception) -> None:
        self._answer = answer

    async def bulk_write(self, statements: Any, *, ordered: bool) -> BulkWriteResult:
        assert not ordered
        if isinstance(self._answer, Exception):
            raise self._answer
        details = details_with(**self._answer)
        if details["writeErrors"] or details["writeConcernErrors"]:
            raise BulkWriteError(details)
        return BulkWriteResult(details, acknowledged=True)


def details_with(**known: Any) -> dict[str, Any]:
    counts = {"nInserted": 0, "nUpserted": 0, "nMatched": 0, "nModified": 0, "nRemoved": 0}
    return {**counts, "writeErrors": [], "writeConcernErrors": [], "upserted": [], **known}


async def answer_to(statements: int, answer: Mapping[str, Any] | Exception) -> BulkReply:
    collection: Any = Scripted(answer)
    return await _bulk(collection, [InsertOne({})] * statements)


async def test_an_answer_without_errors_acknowledges_everything() -> None:
    assert await answer_to(3, {"nInserted": 3}) == BulkReply()
    assert await answer_to(3, {"nMatched": 1, "nUpserted": 2}) == BulkReply()


async def test_failures_are_read_by_index_without_their_texts() -> None:
    reply = await answer_to(
        4,
        {
            "nInserted": 1,
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
            "writeConcernErrors": [{"code": 64, "errmsg": CANARY, "errInfo": {"wtimeout": True}}],
        },
    )
    assert reply == BulkReply({0: WriteFailure(11000, ("sessionId",))}, write_concern_code=64)


async def test_a_write_concern_error_without_a_code_is_one_all_the_same() -> None:
    reply = await answer_to(1, {"nInserted": 1, "writeConcernErrors": [{"errmsg": CANARY}]})
    assert reply.write_concern_code == 0


@pytest.mark.parametrize(
    ("statements", "answer"),
    [
        (3, {"nInserted": 2}),
        (1, {}),
        (2, {"nMatched": 1}),
        (3, {"nInserted": 1, "writeErrors": [{"index": 0, "code": 121}]}),
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
