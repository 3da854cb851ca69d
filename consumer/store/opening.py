"""Opens the store: its client, its collections, and what it needs of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from consumer.findings import Finding
from consumer.ports import Target
from consumer.settings.groups import MongoSettings
from consumer.store import readiness
from consumer.store.clients import APP_NAME, Client, close_client, open_client
from consumer.store.mongo import MongoCollections
from consumer.store.mongo_store import MongoStore, ignore_cause
from consumer.store.target import target_of


class OpenStore(MongoStore):
    """The store on an open client."""

    def __init__(
        self,
        client: Client,
        settings: MongoSettings,
        on_activity_refused: Callable[[str], None] = ignore_cause,
    ) -> None:
        """``on_activity_refused``: see ``MongoStore``. No I/O yet."""
        super().__init__(
            MongoCollections(client, settings), on_activity_refused=on_activity_refused
        )
        self.client = client
        self._settings = settings

    async def prepare(self) -> Sequence[Finding]:
        """Create missing indexes where that is allowed, then check; see ``readiness.prepare``."""
        return await readiness.prepare(self.client, self._settings)

    async def target(self) -> Target:
        """Tell which database it is; see ``target_of``."""
        return await target_of(self.client, self._settings)

    async def inspect(self) -> Sequence[Finding]:
        """Check before a run, and change nothing; see ``readiness.inspect``."""
        return await readiness.inspect(self.client, self._settings, before_a_run=True)


@asynccontextmanager
async def open_store(
    settings: MongoSettings,
    on_activity_refused: Callable[[str], None] = ignore_cause,
    app_name: str = APP_NAME,
) -> AsyncIterator[OpenStore]:
    """Open the store, close its connections at the end. Connects at its first command.

    Raises ``SettingsError`` where the URI is no connection string.
    """
    client = open_client(settings, app_name)
    try:
        yield OpenStore(client, settings, on_activity_refused)
    finally:
        await close_client(client)
