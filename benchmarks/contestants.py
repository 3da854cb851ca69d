"""Who is measured: the product with each driver, the floor, and peers that do the same job."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.workloads import Backlog

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Place:
    """What one measured consumer is told: its servers, the backlog, a group and a database."""

    kafka: str
    mongodb: str
    backlog: Backlog
    group: str
    database: str


@dataclass(frozen=True, slots=True)
class Contestant:
    """A consumer, or a command of the product. ``peer``: its module in ``peers``, if it is one.

    ``arguments`` of the product's command line: ``run`` goes on until SIGTERM, others end.
    """

    name: str
    peer: str | None = None
    arguments: tuple[str, ...] = ("run",)

    @property
    def ends(self) -> bool:
        """Whether it ends by itself when it has read everything."""
        return self.arguments[0] != "run"

    @property
    def only_reads(self) -> bool:
        """Whether it needs what another one has stored."""
        return self.arguments[0] == "audit"

    def command(self) -> Sequence[str]:
        """Return what is run."""
        if self.peer is not None:
            return [str(PEERS_PYTHON), "-m", f"benchmarks.peers.{self.peer}"]
        return [sys.executable, "-m", "consumer", *self.arguments]

    def environment(self, place: Place) -> Mapping[str, str]:
        """Return the variables that tell it its place."""
        if self.peer is not None:
            told = {
                "kafka": place.kafka,
                "mongodb": place.mongodb,
                "topics": place.backlog.topics,
                "group": place.group,
                "database": place.database,
            }
            return {"BENCHMARK_PLACE": json.dumps(told)}
        return {
            "CONSUMER_KAFKA__BOOTSTRAP_SERVERS": place.kafka,
            "CONSUMER_KAFKA__TOPICS": ",".join(place.backlog.topics),
            "CONSUMER_KAFKA__GROUP_ID": place.group,
            "CONSUMER_DEAD_LETTERS__TOPIC": place.backlog.dead_letters,
            "CONSUMER_MONGO__URI": place.mongodb,
            "CONSUMER_MONGO__DATABASE": place.database,
            "CONSUMER_LOG__FORMAT": "json",
        }


FLOOR = Contestant("floor", peer="floor")
REPLAY = Contestant("replay", arguments=("replay", "--all"))

CONTESTANTS = (
    FLOOR,
    Contestant("product, PyMongo"),
    Contestant("product, Motor", arguments=("run", "--set", "mongo.driver=motor")),
    Contestant("FastStream", peer="faststream_batch"),
    Contestant("Quix Streams", peer="quix"),
    REPLAY,
    Contestant("audit", arguments=("audit", "--from-offset", "0")),
)


def varied(contestant: Contestant, settings: Sequence[str]) -> Iterator[Contestant]:
    """Yield it with each value of each ``name=value,value``, one at a time; only of ``run``."""
    for setting in settings if contestant.peer is None and not contestant.ends else ():
        name, _, values = setting.partition("=")
        for value in values.split(","):
            given = f"{name}={value}"
            arguments = (*contestant.arguments, "--set", given)
            yield replace(contestant, name=f"{contestant.name}, {given}", arguments=arguments)
