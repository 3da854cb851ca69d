"""Applying writes in tests, and looking at what they left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from consumer.contract.kinds import EVENTS, SESSIONS
from consumer.errors import TransientError
from consumer.mongo.collections import Collections
from consumer.ports import Store, WriteBatch
from consumer.state.bson_compare import raw_document
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import Write

PROVENANCE = ("_id", "from", "createdFrom", "endedFrom")


async def found_by(replies: AsyncIterator[Sequence[bytes]]) -> list[RawBSONDocument]:
    """Return all that a find yields."""
    return [raw_document(document) async for reply in replies for document in reply]


async def apply(store: Store, writes: Sequence[Write]) -> Sequence[Result]:
    """Apply a batch that meets no trouble."""
    return await store.prepare(writes)()


async def outcomes(store: Store, *writes: Write) -> list[Outcome]:
    return [result.outcome for result in await apply(store, writes)]


async def persist(write_batch: WriteBatch, attempts: int = 50) -> Sequence[Result]:
    """Try again until it is done, as the engine does, without its pauses."""
    for _ in range(attempts):
        try:
            return await write_batch()
        except TransientError:
            continue
    raise AssertionError(f"not done after {attempts} attempts")


async def state(
    collections: Collections,
    sessions: Iterable[str],
    event_ids: Sequence[str],
    *,
    without: Sequence[str] = PROVENANCE,
) -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
    """Return the sessions and their events as plain values, without provenance."""
    session_ids = list(sessions)
    found_sessions = {}
    found_events = {}
    for start in range(0, len(session_ids), 500):
        for raw in await found_by(collections.find(SESSIONS, session_ids[start : start + 500])):
            found_sessions[raw["sessionId"]] = _plain(bytes(raw.raw), without)
    for session_id in session_ids:
        for raw in await found_by(collections.find(EVENTS, [session_id], event_ids)):
            found_events[(session_id, raw["eventId"])] = _plain(bytes(raw.raw), without)
    return found_sessions, found_events


def _plain(encoded: bytes, without: Sequence[str]) -> dict[str, Any]:
    document = bson.decode(encoded)
    return {name: value for name, value in document.items() if name not in without}
