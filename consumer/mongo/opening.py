"""Opens the store: its client, its collections, and what it needs of the database."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consumer.checks import CheckResult
from consumer.errors import PreconditionError, TransientError
from consumer.mongo import readiness
from consumer.mongo.clients import APP_NAME, Client, close_client, open_client
from consumer.mongo.failures import AUTHENTICATION_FAILED, translated
from consumer.mongo.mongo import MongoCollections
from consumer.mongo.mongo_store import MongoStore, ignore_cause
from consumer.mongo.target import target_of
from consumer.ports import Target
from consumer.settings.model import MongoSettings

VERIFY_SECONDS = 120.0
"""How long a unique index that was dropped may go unnoticed."""

RETRY_SECONDS = 5.0
"""When the database is asked again that had no answer."""


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
        self._assigned = asyncio.Event()

    async def answer(self) -> None:
        """Ask the database whether it is there, by who the settings say that we are.

        Raises ``TransientError`` while it does not answer, ``PreconditionError`` where it
        refuses the user: at a start the wrong password would be tried for ever.
        """
        try:
            with translated():
                await self.client.admin.command("ping")
        except TransientError as error:
            if error.cause == AUTHENTICATION_FAILED:
                raise PreconditionError(
                    "MongoDB refuses the user of mongo.uri; fix: its user, password, authSource "
                    "and authMechanism must be right"
                ) from None
            raise TransientError(error.cause, self.trouble()) from error

    def trouble(self) -> str:
        """Why no server could be asked, of each that is known; empty where there is no reason."""
        client: Any = self.client  # Motor's types do not know its attributes
        errors = [
            server.error for server in client.topology_description.server_descriptions().values()
        ]
        # The first part of each names the server and the reason, the rest the time-outs.
        found = [str(error).partition(" (configured")[0] for error in errors if error is not None]
        over_tls = re.search(r"(tls|ssl)=true|\+srv://", self._settings.uri.get_secret_value())
        if not found and over_tls:
            return "no answer over TLS; is tls in mongo.uri what the server speaks?"
        return "; ".join(found)

    async def prepare(self) -> Sequence[CheckResult]:
        """Create missing indexes where that is allowed, then check; see ``readiness.prepare``."""
        return await readiness.prepare(self.client, self._settings)

    async def target(self) -> Target:
        """Tell which database it is; see ``target_of``."""
        return await target_of(self.client, self._settings)

    async def inspect(self) -> Sequence[CheckResult]:
        """Check before a run, and change nothing; see ``readiness.inspect``."""
        return await readiness.inspect(self.client, self._settings, before_a_run=True)

    def forget(self) -> None:
        """See ``MongoStore``. Called at every assignment: the indexes are looked at again."""
        super().forget()
        self._assigned.set()

    async def watch_indexes(
        self, on_trouble: Callable[[TransientError], None], every: float = VERIFY_SECONDS
    ) -> None:
        """Verify the unique indexes at each assignment and every so many seconds, for ever.

        ``on_trouble`` is told why the database could not be asked; it is asked again soon.
        Raises ``PreconditionError`` where one is not as it was: copies would be stored twice.
        """
        pause = every
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._assigned.wait()
            self._assigned.clear()
            pause = every
            try:
                await readiness.verify(self.client, self._settings)
            except TransientError as error:
                on_trouble(error)
                pause = min(every, RETRY_SECONDS)


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
