"""The store over MongoDB: applies batches of writes, in any order and however often."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pymongo

from consumer.aio import wait_at_most
from consumer.checks import CheckResult, Provision
from consumer.contract.kinds import InsertOnce, collections, key_of
from consumer.errors import ConsumerError, PreconditionError, TransientError
from consumer.mongo.bulk import BatchSizers, Sender, SendResult, WriteKey
from consumer.mongo.clients import (
    Client,
    answers_hello,
    opened_client,
    target_of,
)
from consumer.mongo.collection_provisions import collection_provisions
from consumer.mongo.collections import BulkReply, Collections, ConnectionLostError
from consumer.mongo.driver import MongoCollections
from consumer.mongo.driver_errors import driver_errors, refused_users
from consumer.mongo.duplicates import LookUp, ask_first, resolve_duplicates
from consumer.mongo.preflight import inspect_database, run_preflight, verify_unique_indexes
from consumer.mongo.results import ResultRecorder, SessionStatusCache
from consumer.ports import Target, WriteBatch
from consumer.settings.model import MongoSettings
from consumer.state.guards import update_of
from consumer.state.outcomes import Result
from consumer.state.writes import (
    ActivityWrite,
    AnyWrite,
    DocumentWrite,
    Write,
    content_bytes,
)

UPSERT_BYTES = 2 * 1024
"""The most that an upsert takes besides its content: an id of at most 1,024 bytes, the guard."""

ANSWER_SECONDS = 5.0
"""How often the database is asked whether it is there."""

VERIFY_SECONDS = 120.0
"""How long a unique index that was dropped may go unnoticed."""

_CERTIFICATES = {
    "CERTIFICATE_VERIFY_FAILED": "tlsCAFile in mongo.uri, and a host by the certificate's name",
    "CERTIFICATE_REQUIRED": "tlsCertificateKeyFile in mongo.uri",
}
"""What TLS says where one of the certificates will not do, and what to change."""

RETRY_SECONDS = 5.0
"""When the database is asked again that had no answer."""


def ignore_cause(_cause: str) -> None:
    """Do nothing about a refused activity write."""


class MongoStore:
    """Applies batches idempotently and in any order; implements ``consumer.ports.Store``.

    What it learns from batch to batch is not needed to be right. ``read_again``: the events to come
    are probably there already, so that they are asked for before they are sent: a find brings them
    for less than the server needs to refuse them.
    """

    def __init__(
        self,
        collections: Collections,
        on_activity_refused: Callable[[str], None] = ignore_cause,
    ) -> None:
        """``on_activity_refused`` is told why an activity write was refused for good.

        It belongs to no record, so it has no outcome; count it and log it.
        """
        self.collections = collections
        self.on_activity_refused = on_activity_refused
        self.sessions = SessionStatusCache()
        self.sizers = BatchSizers()
        self.read_again = False

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        """See ``Store``."""
        return MongoWriteBatch(self, writes).execute

    def forget(self) -> None:
        """Forget what is remembered of sessions: documents may have gone meanwhile.

        What is read after an assignment may have been applied before it: it is asked for first.
        """
        self.sessions.forget()
        self.read_again = True


class MongoWriteBatch:
    """A batch on its way; ``execute`` is its ``WriteBatch``.

    Works in rounds: send what is pending, settle what was acknowledged, look up what duplicate
    keys have met. A further round follows where a session write lost a race, where the next
    record of an identity takes the place of a refused one, or where an activity is due after all.

    What the store has acknowledged, or what has been judged, stays settled over attempts;
    everything else is sent again.
    """

    def __init__(self, store: MongoStore, writes: Sequence[Write]) -> None:
        """Apply ``writes`` to the collections of ``store``."""
        self._store = store
        self._ask_first = store.read_again
        self._recorder = ResultRecorder(writes, store.sessions, store.on_activity_refused)
        self._lookup = LookUp(store.collections, store.sizers)
        self._senders: dict[str, Sender[Any]] = {}

    async def execute(self) -> Sequence[Result]:
        """See ``WriteBatch``."""
        recorder = self._recorder
        if self._ask_first:
            self._ask_first = False
            await ask_first(self._lookup, recorder, recorder.due())
        tried_again = False
        while recorder.left:
            errors = await self._round()
            lost = all(isinstance(error, ConnectionLostError) for error in errors)
            if errors and (tried_again or not lost):
                try:
                    raise most_severe(errors)
                finally:
                    errors = ()  # an error's traceback holds this call: it may not hold the error
            tried_again = tried_again or bool(errors)
        if recorder.events:
            self._store.read_again = 2 * recorder.existing_events >= recorder.events
        return recorder.results()

    async def _round(self) -> Sequence[ConsumerError]:
        """Send, settle, resolve; return what went wrong."""
        sent = await self._send(self._recorder.due())
        for result in sent:
            self._recorder.sent(result)
        errors = [error for result in sent for error in result.errors]
        if not any(result.broken for result in sent):
            duplicates = [key for result in sent for key in result.duplicates]
            errors += await resolve_duplicates(self._lookup, self._recorder, duplicates)
        return errors

    async def _send(self, due: Mapping[str, Mapping[WriteKey, AnyWrite]]) -> Sequence[SendResult]:
        """Send to all collections side by side; to a lone one without the price of a task."""
        sending = [self._sender(name).send(writes) for name, writes in due.items()]
        return [await sending[0]] if len(sending) == 1 else await asyncio.gather(*sending)

    def _sender(self, collection: str) -> Sender[Any]:
        """Return what sends to a collection. All kinds that share one are written alike."""
        sender = self._senders.get(collection)
        if sender is None:
            inserts = isinstance(collections()[collection][0].write, InsertOnce)
            sizers = self._store.sizers
            sender = self._senders[collection] = Sender(
                # By no method of this batch: in a circle it would wait for the collector.
                partial(_insert if inserts else _upsert, self._store.collections, collection),
                content_bytes if inserts else upsert_bytes,
                key_of(collection),
                sizers.inserts if inserts else sizers.upserts,
                self._recorder.pending,
            )
        return sender


async def _insert(store: Collections, collection: str, writes: Sequence[Write]) -> BulkReply:
    return await store.insert(collection, [one.document for one in writes])


async def _upsert(
    store: Collections, collection: str, writes: Sequence[DocumentWrite | ActivityWrite]
) -> BulkReply:
    return await store.upsert(collection, [update_of(one) for one in writes])


def upsert_bytes(write: AnyWrite) -> int:
    """Return what an upsert weighs in a command, at most."""
    return UPSERT_BYTES + content_bytes(write)


def most_severe(errors: Sequence[ConsumerError]) -> ConsumerError:
    """Return the error to raise: one to stop for, else one that names a record."""
    for error in errors:
        if isinstance(error, PreconditionError):
            return error
    for error in errors:
        if isinstance(error, TransientError) and error.index is not None:
            return error
    return errors[0]


class OpenStore(MongoStore):
    """The store on an open client."""

    def __init__(
        self,
        client: Client,
        settings: MongoSettings,
        on_activity_refused: Callable[[str], None] = ignore_cause,
    ) -> None:
        """``on_activity_refused``: see ``MongoStore``. No I/O yet."""
        super().__init__(MongoCollections(client, settings), on_activity_refused)
        self.client = client
        self._settings = settings
        self._assigned = asyncio.Event()

    async def answer(self, within: float = math.inf) -> None:
        """Ask the database whether it is there, by who the settings say that we are.

        ``within``: seconds that it has, where that is less than ``mongo.timeout``. Raises
        ``TransientError`` while it does not answer, ``PreconditionError`` where it refuses the
        user, or where with every server it is a certificate that will not do, or TLS that
        mongo.uri asks for and it does not speak, or the reverse.
        """
        try:
            deadline = pymongo.timeout(min(within, self._settings.timeout))
            with refused_users(), driver_errors(), deadline:
                await self.client.admin.command("ping")
        except TransientError as error:
            trouble, servers = self.trouble(), self._servers().values()
            for said, fix in _CERTIFICATES.items():
                # Of every server: one with a good certificate may become the primary.
                if servers and all(said in str(server.error) for server in servers):
                    raise PreconditionError(f"MongoDB at {trouble}; fix: {fix}") from error
            await self._refuse_other_tls()
            raise TransientError(error.cause, trouble or error.detail) from error

    async def _refuse_other_tls(self) -> None:
        over_tls, found = self._over_tls, ""
        for host, port in self._servers():
            # One that speaks both (preferTLS, allowTLS), or neither, may be there soon.
            if (
                not port
                or await answers_hello(host, port, tls=over_tls)
                or not await answers_hello(host, port, tls=not over_tls)
            ):
                return
            found = f"{host}:{port} answers {'without TLS' if over_tls else 'over TLS alone'}"
        if found:
            raise PreconditionError(f"MongoDB at {found}; fix: tls in mongo.uri")

    def _servers(self) -> Mapping[Any, Any]:
        client: Any = self.client  # Motor's types do not know its attributes
        servers: Mapping[Any, Any] = client.topology_description.server_descriptions()
        return servers

    @property
    def _over_tls(self) -> bool:
        client: Any = self.client  # as above
        options = client.options.pool_options
        return options._ssl_context is not None  # noqa: SLF001 -- nothing else says what mongo.uri means

    def trouble(self) -> str:
        """Why no server could be asked, of each that is known; empty where there is no reason."""
        servers = self._servers().values()
        errors = [server.error for server in servers if server.error is not None]
        # The first part of each names the server and the reason, the rest the time-outs.
        found = [str(error).partition(" (configured")[0] for error in errors]
        known = any(server.server_type_name != "Unknown" for server in servers)
        if not found and not known and self._over_tls:
            return "no answer over TLS; is tls in mongo.uri what the server speaks?"
        return "; ".join(found)

    async def run_preflight(self) -> Sequence[CheckResult]:
        """Create missing indexes where that is allowed, then check; see ``run_preflight``."""
        with refused_users():
            return await run_preflight(self.client, self._settings)

    async def target(self) -> Target:
        """Tell which database it is; see ``target_of``."""
        with refused_users():
            return await target_of(self.client, self._settings)

    async def inspect(self) -> Sequence[CheckResult]:
        """Check before a run, and change nothing; see ``inspect_database``."""
        with refused_users():
            return await inspect_database(self.client, self._settings, before_a_run=True)

    async def provisions(self) -> Sequence[Provision]:
        """Tell what the database needs, and how it is made; see ``collection_provisions``."""
        with refused_users():
            return await collection_provisions(self.client, self._settings)

    def forget(self) -> None:
        """See ``MongoStore``. Called at every assignment: the indexes are looked at again."""
        super().forget()
        self._assigned.set()

    async def watch_answers(
        self, answers: Callable[[bool], None], every: float = ANSWER_SECONDS
    ) -> None:
        """Tell every so many seconds whether the database answers, for ever."""
        while True:
            try:
                await self.answer()
            except (TransientError, PreconditionError):
                answers(False)  # noqa: FBT003 -- it is all there is to say
            else:
                answers(True)  # noqa: FBT003 -- likewise
            await asyncio.sleep(every)

    async def watch_indexes(
        self, on_trouble: Callable[[TransientError], None], every: float = VERIFY_SECONDS
    ) -> None:
        """Verify the unique indexes at each assignment and every so many seconds, for ever.

        ``on_trouble`` is told once why the database could not be asked; it is asked again soon.
        Raises ``PreconditionError`` where one is not as it was: copies would be stored twice.
        """
        pause, told = every, False
        while True:
            await wait_at_most(pause, self._assigned.wait())
            self._assigned.clear()
            try:
                await verify_unique_indexes(self.client, self._settings)
            except TransientError as error:
                if not told:
                    on_trouble(error)
                pause, told = min(every, RETRY_SECONDS), True
            else:
                pause, told = every, False


@asynccontextmanager
async def open_store(
    settings: MongoSettings,
    on_activity_refused: Callable[[str], None] = ignore_cause,
) -> AsyncIterator[OpenStore]:
    """Open the store, close its connections at the end. Connects at its first command.

    Raises ``SettingsError`` where the URI is no connection string.
    """
    async with opened_client(settings) as client:
        yield OpenStore(client, settings, on_activity_refused)
