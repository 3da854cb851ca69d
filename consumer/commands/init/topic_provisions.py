"""Which topics there have to be, and what those are like that are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from consumer.checks import Provision
from consumer.commands.dead_letters.context import STATUS_TOPIC_CONFIGS
from consumer.commands.dead_letters.dead_letter_selection import STATUS_TOPIC_SUFFIX
from consumer.kafka.admin import Admin, TopicDescription, create_command, suggested_partitions
from consumer.kafka.kafka_preflight import dead_letter_bytes_needed, longest_retention
from consumer.quantities import plural
from consumer.settings.model import Settings

DURABLE_REPLICAS = 3
"""With so many one may be away and a write still be on two."""

FOR_EVER = "-1"


@dataclass(frozen=True, slots=True)
class InitRequest:
    """What is asked for. ``topics``: the topics that are read are to be made, too."""

    topics: bool = False
    partitions: int | None = None
    replicas: int | None = None
    retention_days: float | None = None
    dry_run: bool = False
    as_json: bool = False

    @property
    def retention_ms(self) -> str | None:
        """How long topics that are read keep records, where they are made and this is asked."""
        if self.retention_days is None:
            return None
        return str(timedelta(days=self.retention_days) // timedelta(milliseconds=1))


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """The topics of a deployment: ``known`` are those that exist, as the brokers describe them."""

    settings: Settings
    request: InitRequest
    known: Mapping[str, TopicDescription]

    def provisions(self, admin: Admin, names: Iterable[str]) -> Iterator[Provision]:
        """Yield each of these topics, there or not.

        Those of dead letters follow from those that are read: they come later, with these known.
        """
        for name in names:
            subject, wanted = f"topic {name}", self.configs(name)
            if name in self.known:
                yield Provision(subject, there=True, detail=self._differs(self.known[name]))
            elif wanted is None:
                yield Provision(
                    subject, there=False, detail="is read, and is made with --topics only"
                )
            else:
                replicas = self.request.replicas
                made = (name, self.partitions, wanted, replicas)
                yield Provision(
                    subject,
                    there=False,
                    detail=plural(self.partitions, "partition"),
                    command=create_command(self.settings.kafka, *made),
                    make=partial(Admin.create, admin, *made),
                )

    @property
    def partitions(self) -> int:
        """As many as asked for, or as the topics that are read have."""
        return self.request.partitions or suggested_partitions(self._sources)

    @property
    def _sources(self) -> list[TopicDescription]:
        return [self.known[name] for name in self.settings.kafka.topics if name in self.known]

    def _differs(self, topic: TopicDescription) -> str:
        asked = self.request.partitions
        said = plural(topic.partitions, "partition")
        return said if asked in {None, topic.partitions} else f"{said}, not {asked}: left as it is"

    def configs(self, name: str) -> Mapping[str, str] | None:
        """Return what a topic is made with; None where it is not to be made."""
        durable = (self.request.replicas or 0) >= DURABLE_REPLICAS
        configs = {"min.insync.replicas": "2"} if durable else {}
        letters = self.settings.dead_letters
        # Of topics that are not there yet nobody knows what they will take.
        needed = str(dead_letter_bytes_needed(self._sources))
        size = {"max.message.bytes": needed} if self._sources else {}
        if name in self.settings.kafka.topics:
            kept = self.request.retention_ms
            limit = {} if kept is None else {"retention.ms": kept}
            return {**configs, **limit} if self.request.topics else None
        if name == letters.topic:
            return {**configs, **size, **self._as_long_as_records()}
        if name == letters.parking_topic:
            return {**configs, **size, "retention.ms": FOR_EVER}
        return {**configs, **STATUS_TOPIC_CONFIGS}

    def _as_long_as_records(self) -> Mapping[str, str]:
        """Return the longest retention of what is read; nothing where it is the cluster's own."""
        kept = [topic.configs.get("retention.ms") for topic in self._sources]
        if self.request.topics and len(kept) < len(self.settings.kafka.topics):
            kept.append(self.request.retention_ms)
        return longest_retention(kept)


def dead_letter_topics(settings: Settings) -> tuple[str, ...]:
    """Return the topics of a deployment beside those that are read."""
    letters = settings.dead_letters
    return letters.topic, letters.topic + STATUS_TOPIC_SUFFIX, letters.parking_topic
