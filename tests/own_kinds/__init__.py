"""Kinds of message that a team adds, as tests have them installed, and messages of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, EntryPoints
from random import Random
from typing import Any

import pytest

from consumer.contract.kinds import Kind, set_own_kinds
from consumer.contract.messages import Upcaster
from consumer.contract.rejection import Reason
from consumer.settings import own_kinds
from consumer.settings.model import MongoSettings

ACME = {
    "rated": "tests.own_kinds.acme_kinds:RATED",
    "summary": "tests.own_kinds.acme_kinds:SUMMARIZED",
}

SCORED = {"scored": "tests.own_kinds.more_kinds:SCORED"}

GRADED = {"graded": "tests.own_kinds.more_kinds:GRADED"}


@contextmanager
def installed(**values: str) -> Iterator[None]:
    """Let there be packages with these entry points, as a start of the process finds them."""
    group = own_kinds.GROUP
    entries = EntryPoints(EntryPoint(name, value, group) for name, value in values.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_kinds, "entry_points", entries.select)
        try:
            own_kinds.load_own_kinds(MongoSettings())
            yield
        finally:
            set_own_kinds(())


@contextmanager
def upcasting(kind: Kind, *upcasters: Upcaster) -> Iterator[None]:
    """Let a kind have had these earlier versions."""
    before = kind.upcasters
    object.__setattr__(kind, "upcasters", upcasters)
    try:
        yield
    finally:
        object.__setattr__(kind, "upcasters", before)


def rated(session_id: str = "s", rating_id: str = "r", **fields: Any) -> dict[str, Any]:
    """A session is rated; a field given as None is left out."""
    usual = {"stars": 4, "ratedAt": "2026-03-04T10:09:00.500Z"}
    message = {"type": "session.rated", "sessionId": session_id, "ratingId": rating_id}
    return message | {k: v for k, v in {**usual, **fields}.items() if v is not None}


def summarized(session_id: str = "s", revision: int = 1, **fields: Any) -> dict[str, Any]:
    """A session is summarized; a field given as None is left out."""
    message = {"type": "session.summarized", "sessionId": session_id, "revision": revision}
    return message | {k: v for k, v in {"text": "short", **fields}.items() if v is not None}


def scored(session_id: str = "s", part: str = "p", **fields: Any) -> dict[str, Any]:
    """A part of a session is scored; a field given as None is left out."""
    usual = {"judge": "j", "part": part, "score": 0.5, "judgedAt": "2026-03-04T10:09:00Z"}
    message = {"type": "session.scored", "sessionId": session_id}
    return message | {k: v for k, v in {**usual, **fields}.items() if v is not None}


def graded(session_id: str = "s", revision: object = 1, note: object = None) -> dict[str, Any]:
    """A session is graded; what is given as None is left out."""
    said = {"type": "session.graded", "sessionId": session_id, "revision": revision, "note": note}
    return {name: value for name, value in said.items() if value is not None}


def meaning(message: dict[str, Any]) -> dict[str, Any] | Reason:
    """Return what a message says, or why it can never be applied, as its producer knows it."""
    if message["type"] != "session.graded":
        return message
    revision = message.get("revision")
    return message if type(revision) is int and revision in {0, 1, 2} else Reason.INVALID


def say_own(chance: Random, session_id: str) -> dict[str, Any]:
    """Say something of any of them, at times what contradicts something that was said."""
    if chance.random() < 0.2:
        note = chance.choice((None, 1, 1.0, "1")) if chance.random() < 0.3 else "fine"
        return graded(session_id, chance.choice((None, True, 1.0, 0, 1, 1, 2, 2)), note)
    if chance.random() < 0.3:
        time = chance.choice((None, "2026-03-04T10:09:00Z", "2026-03-04T10:10:00Z"))
        score = 0.5 if chance.random() < 0.8 else 1.0
        return scored(session_id, f"p{chance.randrange(3)}", judgedAt=time, score=score)
    if chance.random() < 0.5:
        time = "2026-03-04T10:09:00Z" if chance.random() < 0.7 else None
        stars = 4 if chance.random() < 0.8 else 1
        return rated(session_id, f"r{chance.randrange(4)}", stars=stars, ratedAt=time)
    topics = None if chance.random() < 0.5 else ["a"]
    return summarized(session_id, chance.randrange(5), topics=topics)
