"""Quix Streams with its own MongoDB sink, as its documentation shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from quixstreams import Application
from quixstreams.sinks.community.mongodb import MongoDBSink

from benchmarks.peers.common import database, on_stop, place

Item = Any


def by_session(item: Item) -> dict[str, Any]:
    """Return which document a session's message changes."""
    return {"sessionId": item.value["sessionId"]}


def by_event(item: Item) -> dict[str, Any]:
    """Return which document an event is."""
    value = item.value
    if "eventId" not in value:
        return by_session(item)
    return {"sessionId": value["sessionId"], "eventId": value["eventId"]}


def with_times(value: dict[str, Any]) -> dict[str, Any]:
    """Return the document, with times as times."""
    return {
        name: datetime.fromisoformat(field)
        if name in {"timestamp", "startedAt", "endedAt"}
        else field
        for name, field in value.items()
    }


def main() -> None:
    """Read until SIGTERM."""
    at = place()
    database(at)
    app = Application(
        broker_address=at.kafka,
        consumer_group=at.group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        loglevel="WARNING",
        auto_create_topics=False,
        state_dir="build/benchmarks/state",  # made though nothing is kept there
    )
    uri = urlsplit(at.mongodb)
    targets = (("conversation_sessions", by_session), ("conversation_events", by_event))
    for topic, (collection, matcher) in zip(at.topics, targets, strict=True):
        sink = MongoDBSink(
            host=uri.hostname or "localhost",
            port=uri.port or 27017,
            db=at.database,
            collection=collection,
            document_matcher=matcher,
            value_selector=with_times,
            w="majority",
            journal=True,
            directConnection=True,
        )
        app.dataframe(app.topic(topic, value_deserializer="json")).sink(sink)
    on_stop(app.stop)
    app.run()


main()
