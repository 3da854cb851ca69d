"""The store over MongoDB: applies batches of writes, in any order and however often."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consumer.checks import CheckResult
from consumer.errors import ConsumerError, PreconditionError, TransientError
from consumer.mongo.bulk import BatchSizers, PendingWrite, Sender, SendResult, W
from consumer.mongo.clients import APP_NAME, Client, close_client, open_client, target_of
from consumer.mongo.collections import EVENT_KEY, SESSION_KEY, BulkReply, Collections
from consumer.mongo.driver import MongoCollections
from consumer.mongo.duplicates import DuplicateResolver, LookUp
from consumer.mongo.errors import AUTHENTICATION_FAILED, driver_errors
from consumer.mongo.preflight import inspect_database, run_preflight, verify_unique_indexes
from consumer.mongo.results import Activities, ResultRecorder, SessionStatusCache
from consumer.ports import Target
from consumer.settings.model import MongoSettings
from consumer.state.batch import BatchResults
from consumer.state.outcomes import Result
from consumer.state.writes import EndWrite, EventWrite, SessionWrite, Write, update_of


def ignore_cause(_cause: str) -> None:
    """Nobody wants to know."""


class MongoStore:
    """Applies batches idempotently and in any order; implements ``consumer.ports.Store``."""

    def __init__(
        self,
        collections: Collections,
        memory: SessionStatusCache | None = None,
        on_activity_refused: Callable[[str], None] = ignore_cause,
    ) -> None:
        """``on_activity_refused`` is told why an activity write was refused for good.

        It belongs to no record, so it has no outcome; count it and log it.
        """
        self._collections = collections
        self._memory = SessionStatusCache() if memory is None else memory
        self._sizers = BatchSizers()
        self._on_activity_refused = on_activity_refused

    @property
    def collections(self) -> Collections:
        """The primitives beneath, for commands that only read."""
        return self._collections

    def prepare(self, writes: Sequence[Write]) -> MongoWriteBatch:
        """Start applying ``writes``, in offset order within each partition. No I/O yet."""
        return MongoWriteBatch(
            writes, self._collections, self._memory, self._sizers, self._on_activity_refused
        )

    def forget(self) -> None:
        """Forget what is remembered of sessions: documents may have gone meanwhile."""
        self._memory.forget()


class MongoWriteBatch:
    """A batch on its way; implements ``consumer.ports.WriteBatch``.

    Works in rounds: send what is pending, settle what was acknowledged, ask about duplicate
    keys. A further round follows where a session write lost a race, where the next record of
    an identity takes the place of a refused one, or where an activity is due after all.

    What the store has acknowledged, or what has been judged, stays settled over attempts;
    everything else is sent again.
    """

    def __init__(
        self,
        writes: Sequence[Write],
        collections: Collections,
        memory: SessionStatusCache,
        sizers: BatchSizers,
        on_activity_refused: Callable[[str], None],
    ) -> None:
        """``sizers``: how much a command carries, learnt from the batches before.

        ``on_activity_refused`` is told why an activity write was refused for good.
        """
        self._collections = collections
        self._batch = BatchResults(writes)
        self._activities = Activities(writes, memory)
        self._settlement = ResultRecorder(
            self._batch, self._activities, memory, on_activity_refused
        )
        self._question = DuplicateResolver(LookUp(collections, sizers), self._settlement)
        self._events: dict[int, PendingWrite[EventWrite]] = {}
        self._sessions: dict[int, PendingWrite[SessionWrite]] = {}
        self._event_sender = Sender(self._insert, EVENT_KEY, sizers.inserts)
        self._session_sender = Sender(self._upsert, SESSION_KEY, sizers.upserts)

    async def execute(self) -> Sequence[Result]:
        """Apply the whole batch once; one result for each write, in their order.

        Raises ``TransientError``: nothing of the batch counts as done, call again after a pause.
        Raises ``PreconditionError``: a unique index is not the one the design relies on.
        """
        while self._batch.pending or self._activities.left():
            errors = await self._round()
            if errors:
                raise most_severe(errors)
        return self._batch.results(self._activities.late)

    async def _round(self) -> Sequence[ConsumerError]:
        """Send, settle, ask; return what went wrong."""
        events, sessions = self._due()
        from_events, from_sessions = await self._send(events, sessions)
        self._settlement.events_sent(from_events)
        self._settlement.sessions_sent(from_sessions)
        errors = from_events.errors + from_sessions.errors
        if not (from_events.broken or from_sessions.broken):
            errors += await self._question.ask(from_events.duplicates, from_sessions.duplicates)
        return errors

    def _due(self) -> tuple[list[PendingWrite[EventWrite]], list[PendingWrite[SessionWrite]]]:
        """Return what this round sends."""
        events: list[PendingWrite[EventWrite]] = []
        sessions: list[PendingWrite[SessionWrite]] = []
        ending: set[str] = set()
        for index in self._batch.pending:
            write = self._batch.writes[index]
            if isinstance(write, EventWrite):
                events.append(_known(self._events, index, write))
            else:
                sessions.append(_known(self._sessions, index, write))
                if isinstance(write, EndWrite):
                    ending.add(write.session_id)
        return events, [*sessions, *self._activities.due(ending)]

    async def _send(
        self,
        events: Sequence[PendingWrite[EventWrite]],
        sessions: Sequence[PendingWrite[SessionWrite]],
    ) -> tuple[SendResult[EventWrite], SendResult[SessionWrite]]:
        """Send both kinds side by side; a lone one without the price of a task."""
        if not sessions:
            return await self._event_sender.send(events), SendResult()
        if not events:
            return SendResult(), await self._session_sender.send(sessions)
        return await asyncio.gather(
            self._event_sender.send(events), self._session_sender.send(sessions)
        )

    async def _insert(self, writes: Sequence[EventWrite]) -> BulkReply:
        return await self._collections.insert_events([write.content for write in writes])

    async def _upsert(self, writes: Sequence[SessionWrite]) -> BulkReply:
        return await self._collections.update_sessions([update_of(write) for write in writes])


def _known(statements: dict[int, PendingWrite[W]], index: int, write: W) -> PendingWrite[W]:
    """Return the record's statement with what it has met so far."""
    statement = statements.get(index)
    if statement is None:
        statement = statements[index] = PendingWrite(write, index)
    return statement


def most_severe(errors: Sequence[ConsumerError]) -> ConsumerError:
    """Return the trouble to raise: one to stop for, else one that names a record."""
    for trouble in errors:
        if isinstance(trouble, PreconditionError):
            return trouble
    for trouble in errors:
        if isinstance(trouble, TransientError) and trouble.index is not None:
            return trouble
    return errors[0]


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
            with driver_errors():
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

    async def run_preflight(self) -> Sequence[CheckResult]:
        """Create missing indexes where that is allowed, then check; see ``run_preflight``."""
        return await run_preflight(self.client, self._settings)

    async def target(self) -> Target:
        """Tell which database it is; see ``target_of``."""
        return await target_of(self.client, self._settings)

    async def inspect(self) -> Sequence[CheckResult]:
        """Check before a run, and change nothing; see ``inspect_database``."""
        return await inspect_database(self.client, self._settings, before_a_run=True)

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
                await verify_unique_indexes(self.client, self._settings)
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
