"""What a dry run would have written so far, on the disk."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Collection, Mapping

Identity = tuple[str, ...]

DIGEST_BYTES = 16
"""Of an identity: small keys make small indexes, and no two of a trillion are likely the same."""


class Remembered:
    """Implements ``consumer.mongo.dry_run.Memory`` over a scratch table."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Keep the contents in ``database``."""
        self._database = database
        self._one_at_a_time = asyncio.Lock()
        database.execute("CREATE TABLE remembered (identity BLOB PRIMARY KEY, content BLOB)")

    async def recall(self, identities: Collection[Identity]) -> Mapping[Identity, bytes]:
        """See ``Memory``."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._recall, identities)

    async def remember(self, contents: Mapping[Identity, bytes]) -> None:
        """See ``Memory``."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._remember, contents)

    def _recall(self, identities: Collection[Identity]) -> dict[Identity, bytes]:
        found: dict[Identity, bytes] = {}
        for identity in identities:
            row = self._database.execute(
                "SELECT content FROM remembered WHERE identity = ?", (_digest(identity),)
            ).fetchone()
            if row is not None:
                found[identity] = row[0]
        return found

    def _remember(self, contents: Mapping[Identity, bytes]) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO remembered VALUES (?, ?)",
            ((_digest(identity), content) for identity, content in contents.items()),
        )


def _digest(identity: Identity) -> bytes:
    """Ids hold no NUL, so it separates the parts."""
    return hashlib.blake2b("\0".join(identity).encode(), digest_size=DIGEST_BYTES).digest()
