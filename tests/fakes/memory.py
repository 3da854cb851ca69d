"""What a dry run remembers, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from consumer.mongo.dry_run import Identity


class MemoryOfDicts:
    """Remembers in memory; the real one does on a disk."""

    def __init__(self) -> None:
        self.contents: dict[Identity, bytes] = {}

    async def recall(self, identities: Collection[Identity]) -> Mapping[Identity, bytes]:
        return {one: self.contents[one] for one in identities if one in self.contents}

    async def remember(self, contents: Mapping[Identity, bytes]) -> None:
        self.contents.update(contents)
