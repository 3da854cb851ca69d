"""What is made behind a router, of which there is none at hand: by what is asked of one."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from consumer.errors import PreconditionError
from consumer.mongo.collection_provisions import collection_provisions
from consumer.settings.model import MongoSettings
from tests.simulation.loop import in_virtual_time

SETTINGS = MongoSettings()
SESSIONS, EVENTS = SETTINGS.sessions, SETTINGS.events


class Router:
    """Answers as an empty cluster whose ``config.collections`` has ``keys`` by collection."""

    def __init__(self, keys: Mapping[str, Mapping[str, object]], refusal: int = 0) -> None:
        self._keys = keys
        self._refusal = refusal
        self.asked: list[Mapping[str, Any]] = []
        self.name = SETTINGS.database
        self.admin = SimpleNamespace(command=self.command)

    def get_database(self, _name: str, **_concerns: object) -> Router:
        return self

    def __getitem__(self, _name: str) -> Router:
        return self

    async def command(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(command)
        if "hello" in command:
            return {"msg": "isdbgrid"}
        if "find" in command:
            name = command["filter"]["_id"].partition(".")[2]
            entries = [{"key": self._keys[name]}] if name in self._keys else []
            return {"cursor": {"firstBatch": entries}}
        if "shardCollection" in command and self._refusal:
            raise OperationFailure("secret text", self._refusal, {"codeName": "Unauthorized"})
        return {"cursor": {"firstBatch": []}}


@in_virtual_time
async def test_both_collections_are_sharded_by_session_behind_their_unique_indexes() -> None:
    router: Any = Router({})
    found = await collection_provisions(router, SETTINGS)
    names = [one.name for one in found]
    assert names[-2:] == [f"shard key of {SESSIONS}", f"shard key of {EVENTS}"]
    router.asked.clear()
    for one in found[-2:]:
        assert one.make is not None
        await one.make()
    assert router.asked == [
        {
            "shardCollection": f"conversations.{name}",
            "key": {"sessionId": 1},
            "unique": name == SESSIONS,
        }
        for name in (SESSIONS, EVENTS)
    ]
    assert found[-2].command == (
        'mongosh "$CONSUMER_MONGO__URI" --eval '
        f"'sh.shardCollection(\"conversations.{SESSIONS}\", {{sessionId: 1}}, true)'"
    )


@in_virtual_time
async def test_a_shard_key_that_is_there_is_left_and_another_one_is_wrong() -> None:
    router: Any = Router({SESSIONS: {"sessionId": 1}, EVENTS: {"sessionId": "hashed"}})
    right, wrong = (await collection_provisions(router, SETTINGS))[-2:]
    assert (right.there, right.wrong, right.make) == (True, False, None)
    assert (wrong.there, wrong.wrong, wrong.make) == (True, True, None)
    assert "hashed" in wrong.detail


@in_virtual_time
async def test_what_the_server_refuses_is_named_with_the_grant_and_without_its_text() -> None:
    router: Any = Router({}, refusal=13)
    *_, last = await collection_provisions(router, SETTINGS)
    assert last.make is not None
    with pytest.raises(PreconditionError) as caught:
        await last.make()
    assert str(caught.value) == (
        f"shard key of {EVENTS}: refused (Unauthorized); fix: grant enableSharding"
    )
