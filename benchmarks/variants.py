"""What is compared. The first is what the others are measured against."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.backlog import Place
from benchmarks.commands import measured

RUN = ("run", "--exit-when-caught-up")


@dataclass(frozen=True, slots=True)
class Variant:
    """A command; ``applied``: on a database where all of the backlog is applied already."""

    name: str
    short: str
    arguments: tuple[str, ...]
    applied: bool = False


VARIANTS = (
    Variant("run", "run", RUN),
    Variant("run, PyMongo", "pm", (*RUN, "--set", "mongo.driver=pymongo")),
    Variant("run, 1 in flight", "one", (*RUN, "--set", "engine.batches_in_flight=1")),
    Variant("run, 500 a poll", "small", (*RUN, "--set", "engine.max_poll_records=500")),
    Variant("run again", "again", RUN, applied=True),
    Variant("replay", "rep", ("replay", "--all")),
    Variant("replay again", "repagain", ("replay", "--all"), applied=True),
    Variant("audit", "audit", ("audit",), applied=True),
)


async def prepare(variant: Variant, place: Place) -> None:
    """Apply the whole backlog first, unmeasured, where the variant wants that."""
    if variant.applied:
        await measured(("replay", "--all"), place)
