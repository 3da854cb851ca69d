"""Kinds whose newest message stays: the one of the latest time, and one whose model is lenient."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, model_validator

from consumer.contract.kinds import Kind, UpsertNewest


class Score(BaseModel):
    """How well a part of a session went, by one of several judges."""

    sessionId: str
    judge: str
    part: str
    score: float
    judgedAt: datetime


SCORED = Kind(
    "session.scored",
    model=Score,
    collection="session_scores",
    identity=("sessionId", "judge", "part"),
    write=UpsertNewest(by="judgedAt"),
    time="judgedAt",
)


class Grade(BaseModel):
    """Its validators take more than is stored: true and 1.0 for 1, and none for the first."""

    sessionId: str
    revision: Literal[0, 1, 2]
    note: Annotated[str, BeforeValidator(str)] | None = None

    @model_validator(mode="before")
    @classmethod
    def first(cls, said: dict[str, Any]) -> dict[str, Any]:
        """Let a message without a revision be one of the first."""
        return {"revision": 0, **said}


GRADED = Kind(
    "session.graded",
    model=Grade,
    collection="session_grades",
    identity=("sessionId",),
    write=UpsertNewest(by="revision"),
)
