"""What a group keeps for a partition: an offset, and a text that says where it belongs.

An offset says how much was stored, and nothing more. The text beside it says of which log it
speaks, into which database its records went, and why nobody reads on where a partition is held.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from consumer.aio import with_timeout
from consumer.contract.record import Offsets, TopicPartition
from consumer.contract.times import format_time
from consumer.errors import PreconditionError, TransientError
from consumer.ports import NO_HOLDS, Hold, Holds, Target

if TYPE_CHECKING:
    from consumer.kafka.client import GroupClient


MAX_LENGTH = 4096
"""Brokers refuse a commit with more beside an offset, unless their offset.metadata.max.bytes says
otherwise. What is encoded here is ASCII."""


@dataclass(frozen=True, slots=True)
class CommittedHold:
    """What is committed of a hold. ``since``: as RFC 3339, unless another program wrote it."""

    since: str
    offset: int
    reasons: Mapping[str, int] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, hold: Hold) -> CommittedHold:
        """Return what there is to commit of a hold."""
        return cls(
            format_time(hold.since),
            hold.offset,
            {str(reason): count for reason, count in hold.reasons.items()},
        )


@dataclass(frozen=True, slots=True)
class OffsetMetadata:
    """What a committed offset belongs to; None for what is not known.

    ``held``: by the breaker, as whoever committed it said; it ends with that one's assignment.
    """

    topic_id: str | None = None
    target: Target | None = None
    held: CommittedHold | None = None

    def encode(self) -> str:
        """Return the text to commit, empty where nothing is known.

        A hold must not keep the offset from being committed: where it is too long, its reasons
        are left out, then all of it.
        """
        text = self._encode()
        if self.held is None or len(text) <= MAX_LENGTH:
            return text
        shorter = replace(self.held, reasons={}) if self.held.reasons else None
        return replace(self, held=shorter).encode()

    def _encode(self) -> str:
        said: dict[str, Any] = {}
        if self.topic_id is not None:
            said["topicId"] = self.topic_id
        if self.target is not None:
            said["target"] = {"key": self.target.key, "name": self.target.name}
        if self.held is not None:
            said["held"] = {"since": self.held.since, "offset": self.held.offset}
            if self.held.reasons:
                said["held"]["reasons"] = self.held.reasons
        return json.dumps(said, separators=(",", ":")) if said else ""

    @classmethod
    def decode(cls, text: str) -> OffsetMetadata:
        """Read what was committed; nothing is known of what another program has committed."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(said, Mapping):
            return cls()
        topic_id, target = said.get("topicId"), said.get("target")
        held = _held(said.get("held"))
        return cls(topic_id if isinstance(topic_id, str) else None, _target(target), held)


def ids_differ(one: str | None, other: str | None) -> bool:
    """Tell whether two topic ids are known, and differ."""
    return None not in {one, other} and one != other


def _target(said: object) -> Target | None:
    if not isinstance(said, Mapping):
        return None
    key, name = said.get("key"), said.get("name")
    return Target(key, name) if isinstance(key, str) and isinstance(name, str) else None


def _held(said: object) -> CommittedHold | None:
    if not isinstance(said, Mapping):
        return None
    since, offset, reasons = said.get("since"), said.get("offset"), said.get("reasons")
    if not isinstance(since, str) or not isinstance(offset, int):
        return None
    known = reasons.items() if isinstance(reasons, Mapping) else ()
    return CommittedHold(
        since, offset, {name: count for name, count in known if isinstance(count, int)}
    )


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset. ``metadata``: whatever was committed beside it, by whomever."""

    offset: int
    metadata: str = ""

    @property
    def details(self) -> OffsetMetadata:
        """What the metadata says."""
        return OffsetMetadata.decode(self.metadata)


@dataclass(frozen=True, slots=True)
class AcceptedTarget:
    """Where this process stores, and the key of the place whose offsets it takes over."""

    target: Target | None = None
    moved_from: str | None = None

    def refuses(self, committed: Committed) -> Target | None:
        """Return where an offset's records went, where that is neither here nor accepted."""
        other = committed.details.target
        if other is None or not self.moved(committed) or other.key == self.moved_from:
            return None
        # Keys of two kinds tell nothing of each other.
        return other if self.target and other.key[:1] == self.target.key[:1] else None

    def moved(self, committed: Committed) -> bool:
        """Tell whether the offset still names another place, and must be committed again."""
        other = committed.details.target
        return self.target is not None and other is not None and other.key != self.target.key

    def check(self, committed: Mapping[TopicPartition, Committed]) -> None:
        """Raise ``PreconditionError`` where records went elsewhere: one line that names both."""
        for partition, kept in sorted(committed.items(), key=lambda item: item[0]):
            other = self.refuses(kept)
            if other is not None:
                raise PreconditionError(
                    f"the group's offset of {partition.name} says that its records were stored in "
                    f"{other}, and the settings name {self.target}; fix: another "
                    "kafka.group_id, mongo.uri or mongo.database, or, where the documents were "
                    f"moved, mongo.moved_from={other.key}"
                )


@dataclass(slots=True)
class OffsetCommitter:
    """Sends commits, one at a time: a late one must not land behind a newer one.

    ``target``: where the records went. ``timeout`` in seconds, for each commit.
    """

    target: Target | None
    timeout: float
    _pending: asyncio.Future[None] | None = None

    async def send(
        self,
        client: GroupClient,
        offsets: Offsets,
        topic_ids: Mapping[TopicPartition, str | None],
        holds: Holds = NO_HOLDS,
    ) -> None:
        """Commit the offsets, each with the log of which it speaks and its hold, if there is one.

        Should the topic be another one by the time it lands, whoever reads it knows. Raises
        ``TransientError`` when refused.
        """
        if self._pending is not None and not self._pending.done():
            raise TransientError("commit_pending", "an earlier commit has no answer yet")
        held = {partition: CommittedHold.of(hold) for partition, hold in holds.items()}
        kept = {
            p: Committed(
                offset, OffsetMetadata(topic_ids.get(p), self.target, held.get(p)).encode()
            )
            for p, offset in offsets.items()
        }
        # The client shields its request from cancellation, so that it may land late.
        self._pending = asyncio.ensure_future(client.commit(kept))
        await with_timeout(self._pending, "commit", self.timeout)

    def drop(self) -> None:
        """Let a commit without an answer not be tried again.

        It might be, in whatever generation there is by then, and so undo what the next owner of
        a partition has committed, or commit offsets of a log that is no more.
        """
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
