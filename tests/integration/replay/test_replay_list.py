"""The records that an audit lists are replayed, and documents that were altered are put back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from consumer.commands.replay.replay_request import ReplayRequest
from consumer.state.outcomes import Outcome
from tests.builders import completed, created, encoded, event
from tests.integration.replay.conftest import EVERYTHING, Log, ends
from tests.integration.replay.logs import documents


def listed(path: Path, *lines: tuple[str, int, int, str]) -> str:
    names = ("topic", "partition", "offset", "problem")
    path.write_text("".join(json.dumps(dict(zip(names, one, strict=True))) + "\n" for one in lines))
    return str(path)


async def test_missing_documents_come_back_by_their_positions(log: Log, tmp_path: Path) -> None:
    await log.replay(EVERYTHING)
    complete = documents(log.uri, f"{log.name}-a")
    with MongoClient[dict[str, Any]](log.uri) as client:
        events = client[f"{log.name}-a"].conversation_events
        gone = list(events.find().limit(25))
        events.delete_many({"_id": {"$in": [one["_id"] for one in gone]}})
    origins = [one["from"] for one in gone]
    places = [(o["topic"], o["partition"], o["offset"], "missing") for o in origins]
    request = ReplayRequest(file=listed(tmp_path / "list", *reversed(places)))
    said = await log.replay(ReplayRequest(file=request.file, dry_run=True))
    done = await log.replay(request)
    assert ends(done) == ends(said)
    assert done.total.outcomes == {Outcome.APPLIED: 25}
    assert done.of_list.listed_not_found == 0
    assert documents(log.uri, f"{log.name}-a") == complete


async def altered_log(log: Log) -> tuple[list[tuple[str, int, int, str]], dict[str, Any]]:
    """Two events, a creation and an end, each altered; their positions and the true documents."""
    sessions, events = log.topics
    await log.publish(
        (sessions, 0, b"s", encoded(created("s", metadata={"n": 1}))),
        (sessions, 0, b"s", encoded(completed("s", eventCount=2))),
        (events, 0, b"s", encoded(event("s", "e1"))),
        (events, 0, b"s", encoded(event("s", "e2"))),
    )
    await log.replay(EVERYTHING)
    true = documents(log.uri, f"{log.name}-a")
    with MongoClient[dict[str, Any]](log.uri) as client:
        database = client[f"{log.name}-a"]
        database.conversation_events.update_many(
            {}, {"$set": {"payload.text": "forged", "stranger": 1}}
        )
        database.conversation_events.update_one({"eventId": "e2"}, {"$set": {"from.offset": 99}})
        database.conversation_sessions.update_one(
            {}, {"$set": {"language": "xx", "status": "failed", "reason": "forged"}}
        )
    places = [(t, 0, offset, "altered") for t in (sessions, events) for offset in (0, 1)]
    return places, true


async def test_altered_documents_are_left_alone_unless_they_are_to_be_repaired(
    empty_log: Log, tmp_path: Path
) -> None:
    places, _ = await altered_log(empty_log)
    before = documents(empty_log.uri, f"{empty_log.name}-a")
    report = await empty_log.replay(ReplayRequest(file=listed(tmp_path / "list", *places)))
    assert report.of_list.altered_left_out == 4
    assert report.total.records == 0
    assert documents(empty_log.uri, f"{empty_log.name}-a") == before


async def test_altered_documents_are_put_back_by_the_record_they_came_from(
    empty_log: Log, tmp_path: Path
) -> None:
    places, true = await altered_log(empty_log)
    file = listed(tmp_path / "list", *places)
    said = await empty_log.replay(ReplayRequest(file=file, repair=True, dry_run=True))
    done = await empty_log.replay(ReplayRequest(file=file, repair=True))
    assert ends(done) == ends(said)
    assert (done.of_list.restored, said.of_list.restored) == (3, 3)
    assert done.total.outcomes == {Outcome.APPLIED: 3, Outcome.CONFLICT: 1}
    left = documents(empty_log.uri, f"{empty_log.name}-a")
    assert left["conversation_sessions"] == true["conversation_sessions"]
    by_id = {entry["eventId"]: entry for entry in left["conversation_events"]}
    assert by_id["e1"] in true["conversation_events"]
    # It says that it came from another record, so nothing overwrites it.
    assert by_id["e2"]["payload"] == {"text": "forged"}


async def test_listed_records_that_the_log_does_not_hold_are_counted(
    log: Log, tmp_path: Path
) -> None:
    topic = log.topics[0]
    places = [(topic, 0, 0, "missing"), (topic, 0, 10**9, "missing"), (topic, 8, 1, "missing")]
    report = await log.replay(ReplayRequest(file=listed(tmp_path / "list", *places)))
    assert report.of_list.listed_not_found == 2
    assert report.total.records == 1
