"""Two kinds of message that a team adds: ratings, each stored once, and summaries, the newest."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from consumer.contract.kinds import InsertOnce, Kind, UpsertNewest


class Rating(BaseModel):
    """Somebody rates a session."""

    sessionId: str
    ratingId: str
    stars: Annotated[int, Field(ge=1, le=5)]
    comment: str | None = None
    ratedAt: datetime


RATED = Kind(
    "session.rated",
    model=Rating,
    collection="session_ratings",
    identity=("sessionId", "ratingId"),
    write=InsertOnce(),
    time="ratedAt",
    example={"sessionId": "s-1", "ratingId": "r-1", "stars": 4, "ratedAt": "2026-03-04T10:09:00Z"},
)


class Summary(BaseModel):
    """What a session was about; a later revision takes the place of an earlier one."""

    sessionId: str
    revision: int
    text: str
    topics: list[str] | None = None


SUMMARIZED = Kind(
    "session.summarized",
    model=Summary,
    collection="session_summaries",
    identity=("sessionId",),
    write=UpsertNewest(by="revision"),
)
