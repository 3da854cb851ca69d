"""What a group keeps for a partition: an offset, and a text that says where it belongs.

An offset says how much was stored, and nothing more. The text beside it says of which log it
speaks, and into which database its records went.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError, TransientError
from consumer.ports import Target
from consumer.stream.exchange import answered

if TYPE_CHECKING:
    from consumer.stream.client import GroupClient


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a committed offset belongs to; None for what is not known."""

    topic_id: str | None = None
    target: Target | None = None

    def encoded(self) -> str:
        """Return the text to commit, empty where nothing is known."""
        said: dict[str, Any] = {}
        if self.topic_id is not None:
            said["topicId"] = self.topic_id
        if self.target is not None:
            said["target"] = {"key": self.target.key, "name": self.target.name}
        return json.dumps(said, separators=(",", ":")) if said else ""

    @classmethod
    def decoded(cls, text: str) -> Belonging:
        """Read what was committed; nothing is known of what another program has committed."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(said, Mapping):
            return cls()
        topic_id, target = said.get("topicId"), said.get("target")
        return cls(topic_id if isinstance(topic_id, str) else None, _target(target))


def are_two(one: str | None, other: str | None) -> bool:
    """Tell whether two topic ids are known, and differ."""
    return None not in {one, other} and one != other


def _target(said: object) -> Target | None:
    if not isinstance(said, Mapping):
        return None
    key, name = said.get("key"), said.get("name")
    return Target(key, name) if isinstance(key, str) and isinstance(name, str) else None


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset. ``metadata``: whatever was committed beside it, by whomever."""

    offset: int
    metadata: str = ""

    @property
    def belonging(self) -> Belonging:
        """What the metadata says."""
        return Belonging.decoded(self.metadata)


@dataclass(frozen=True, slots=True)
class AcceptedTarget:
    """Where this process stores, and the key of the place whose offsets it takes over."""

    target: Target | None = None
    moved_from: str | None = None

    def refuses(self, committed: Committed) -> Target | None:
        """Return where an offset's records went, where that is neither here nor accepted."""
        other = committed.belonging.target
        if other is None or not self.moved(committed) or other.key == self.moved_from:
            return None
        # Keys of two kinds tell nothing of each other.
        return other if self.target and other.key[:1] == self.target.key[:1] else None

    def moved(self, committed: Committed) -> bool:
        """Tell whether the offset still names another place, and must be committed again."""
        other = committed.belonging.target
        return self.target is not None and other is not None and other.key != self.target.key

    def check(self, committed: Mapping[TopicPartition, Committed]) -> None:
        """Raise ``PreconditionError`` where records went elsewhere: one line that names both."""
        for (topic, number), kept in sorted(committed.items(), key=lambda item: item[0]):
            other = self.refuses(kept)
            if other is not None:
                raise PreconditionError(
                    f"the group's offset of {topic}-{number} says that its records were stored in "
                    f"{other}, and this instance would store in {self.target}; cure: another "
                    "kafka.group_id or mongo.uri, or, where the documents were moved, "
                    f"mongo.moved_from={other.key}"
                )


class Commits:
    """Sends commits, one at a time: a late one must not land behind a newer one."""

    def __init__(self, target: Target | None, timeout: float) -> None:
        """``target``: where the records went. ``timeout`` in seconds, for each commit."""
        self._target = target
        self._timeout = timeout
        self._pending: asyncio.Future[None] | None = None

    async def send(
        self,
        client: GroupClient,
        offsets: Mapping[TopicPartition, int],
        topic_ids: Mapping[TopicPartition, str | None],
    ) -> None:
        """Commit the offsets, each with the log of which it speaks.

        Should the topic be another one by the time it lands, whoever reads it knows. Raises
        ``TransientError`` when refused.
        """
        if self._pending is not None and not self._pending.done():
            raise TransientError("commit_pending", "an earlier commit has no answer yet")
        kept = {
            partition: Committed(
                offset, Belonging(topic_ids.get(partition), self._target).encoded()
            )
            for partition, offset in offsets.items()
        }
        # The client shields its request from cancellation, so that it may land late.
        self._pending = asyncio.ensure_future(client.commit(kept))
        await answered(self._pending, "commit", self._timeout)

    def drop(self) -> None:
        """Let a commit without an answer not be tried again.

        It might be, in whatever generation there is by then, and so undo what the next owner of
        a partition has committed, or commit offsets of a log that is no more.
        """
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
