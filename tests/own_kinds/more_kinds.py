"""A kind whose newest message is the one of the latest time, under an identity of three fields."""

from datetime import datetime

from pydantic import BaseModel

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
