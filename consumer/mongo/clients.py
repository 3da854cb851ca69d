"""Opens the client of either driver, and the collections on it.

Motor wraps PyMongo in threads; PyMongo's own asyncio client needs none. Both have the same
methods, so that everything above this file is written once.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, assert_never

import bson
import pymongo
import pymongo.lock
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import split_options, validate_options

from consumer.aio import first_bytes, stop_quietly, wait_at_most
from consumer.contract.kinds import EVENTS, SESSIONS, collections
from consumer.errors import SettingsError
from consumer.mongo.driver_errors import driver_errors
from consumer.ports import Target
from consumer.settings.model import MongoSettings
from consumer.settings.values import Driver

if TYPE_CHECKING:  # it is loaded by whoever uses it
    from motor.motor_asyncio import (
        AsyncIOMotorClient,
        AsyncIOMotorCollection,
        AsyncIOMotorDatabase,
    )

Document = dict[str, Any]
Client: TypeAlias = "AsyncMongoClient[Document] | AsyncIOMotorClient[Document]"
Database: TypeAlias = "AsyncDatabase[Document] | AsyncIOMotorDatabase[Document]"
Collection: TypeAlias = "AsyncCollection[Any] | AsyncIOMotorCollection[Any]"

ACKNOWLEDGED = WriteConcern(w="majority", j=True)
"""By a majority and its journal. Less could be lost after its offset has been committed."""

JUDGED = ReadConcern("majority")
"""What is judged must not be rolled back later."""

CLOSE_SECONDS = 2.0
"""What ending the sessions on the server may take; it drops them by itself later."""

DEFAULT_PORT = 27017

OP_MSG = 2013
"""The kind of message in which commands are sent."""

_PORT = re.compile(r":[0-9]+$")

APP_NAME = "conversation-consumer"

T = TypeVar("T")


async def _wait_in_this_task(awaited: Awaitable[T], timeout: float | None) -> T:
    """Do what asyncio.wait_for does from Python 3.12 on.

    Before, it waits in a task of its own. PyMongo waits so for a server, and the locks of its whole
    client are taken again behind that: by a task that a cancel leaves behind, for ever.
    """
    async with asyncio.timeout(timeout):
        return await awaited


if sys.version_info < (3, 12):
    vars(pymongo.lock).update(wait_for=_wait_in_this_task)


def open_client(settings: MongoSettings) -> Client:
    """Return a client of the driver the settings name. Connects at its first command.

    Raises ``SettingsError`` where the URI is no connection string; the text of the driver's
    error may quote credentials and is left out, unless it is about options alone.
    """
    uri = settings.uri.get_secret_value()
    options: Mapping[str, Any] = {
        "appname": APP_NAME,
        "w": "majority",
        "journal": True,
        "retryWrites": True,
        "timeoutMS": round(settings.timeout * 1000),
        "maxPoolSize": settings.max_pool_size,
        "tz_aware": True,
        # A date beyond the years of Python, which somebody may have stored, is read all the same.
        "datetime_conversion": "DATETIME_AUTO",
        "uuidRepresentation": "standard",
    }
    try:
        _check_options(uri)
        match settings.driver:
            case Driver.MOTOR:
                from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 -- as above

                return AsyncIOMotorClient(uri, **options)
            case Driver.PYMONGO:
                return AsyncMongoClient(uri, **options)
            case _:
                assert_never(settings.driver)
    except OSError as error:  # of a certificate; the driver's text names the option only
        raise SettingsError(f"mongo.uri: a file that it names cannot be read: {error}") from None
    except (PyMongoError, ValueError, TypeError) as error:
        if type(error) is ConfigurationError:  # not what is derived from it: InvalidURI quotes
            raise SettingsError(f"mongo.uri: the driver refuses its options: {error}") from None
        raise SettingsError(
            f"mongo.uri: not a connection string the driver accepts ({type(error).__name__}); fix: "
            "percent-encode user name and password (%40 for @); a port is a number up to 65535"
        ) from None


def _check_options(uri: str) -> None:
    """Refuse an option of the URI that the driver would warn of and go without, be it ``tls``."""
    for option in filter(None, re.split("[&;]", uri.partition("?")[2])):
        with warnings.catch_warnings(action="ignore"):  # what it can go without, it says itself
            try:
                validate_options(split_options(option), warn=False)
            except (PyMongoError, ValueError, TypeError):
                name = option.partition("=")[0]
                said = name if re.fullmatch("[A-Za-z]{1,40}", name) else "an option (not shown)"
                raise SettingsError(
                    f"mongo.uri: {said} is no option of the driver, or its value is not allowed"
                ) from None


def servers_of(uri: str) -> str:
    """Return the servers that a URI names, one way to say it for one set of them, and no secret.

    Nothing is resolved: of a ``mongodb+srv`` URI it is the name that the records are looked up by.
    """
    scheme, _, rest = uri.partition("://")
    named = re.split("[/?]", rest, maxsplit=1)[0].rpartition("@")[2].lower()
    if scheme == "mongodb+srv":
        return f"{scheme}://{named}"
    servers = (
        host if _PORT.search(host) else f"{host}:{DEFAULT_PORT}" for host in named.split(",")
    )
    return ",".join(sorted(set(servers)))


@asynccontextmanager
async def opened_client(settings: MongoSettings) -> AsyncIterator[Client]:
    """Open a client as ``open_client`` does, and close it at the end."""
    client = open_client(settings)
    try:
        yield client
    finally:
        await close_client(client)


async def close_client(client: Client) -> None:
    """Close all connections, or leave them to the end of the process.

    Both drivers end their sessions on the server first, and wait half a minute for one that is
    away: longer than whoever stops the process may wait. Motor does so on the caller's thread;
    here on one that the end of the process does not wait for.
    """
    if isinstance(client, AsyncMongoClient):
        with pymongo.timeout(CLOSE_SECONDS / 2):  # for what is said to the server
            await stop_quietly(client.close(), CLOSE_SECONDS)
        return

    closed, loop = asyncio.Event(), asyncio.get_running_loop()

    def close() -> None:
        with contextlib.suppress(Exception):  # nothing depends on it
            client.close()
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=close, name="mongo-close", daemon=True).start()
    await wait_at_most(CLOSE_SECONDS, closed.wait())


def database_of(client: Client, settings: MongoSettings) -> Database:
    """Return the database, with concerns that the URI cannot weaken."""
    return client.get_database(
        settings.database,
        write_concern=ACKNOWLEDGED,
        read_concern=JUDGED,
        read_preference=ReadPreference.PRIMARY,
    )


def collection_names(settings: MongoSettings) -> Mapping[str, str]:
    """Return what the collections of all kinds are called in the database.

    The settings name the two of the contract; one that others declare has the name it says.
    """
    named = {SESSIONS: settings.sessions, EVENTS: settings.events}
    return {name: named.get(name, name) for name in collections()}


def collections_of(database: Database, settings: MongoSettings) -> Mapping[str, Collection]:
    """Return the collections of all kinds, by their names in ``consumer.contract.kinds``."""
    names = collection_names(settings).items()
    return {name: database.get_collection(stored_as) for name, stored_as in names}


async def first_batch(database: Database, command: Document) -> Sequence[Mapping[str, Any]]:
    """Return what a command of many answers says at once."""
    batch: Sequence[Mapping[str, Any]] = (await database.command(command))["cursor"]["firstBatch"]
    return batch


async def collection_info(database: Database, name: str) -> Mapping[str, Any] | None:
    """Return what listCollections tells of a collection, None where it is not there yet."""
    command = {"listCollections": 1, "filter": {"name": name}}
    return next(iter(await first_batch(database, command)), None)


COLLECTIONS, SERVERS = "c", "s"
"""What a key rests on, as its first letter: the collections' own ids, or the servers' names."""

LONGEST_NAME = 200


async def target_of(client: Client, settings: MongoSettings) -> Target:
    """Ask the database which one it is. Raises ``TransientError`` where it does not answer.

    Each collection has an id of its own for as long as it is there, the same behind whichever
    host, and another one in another cluster; one that is not there has none that anybody has stored
    in. Servers that tell none go by their hosts' names.
    """
    database = database_of(client, settings)
    names = (settings.sessions, settings.events)
    with driver_errors():
        hello = await database.command({"hello": 1})
        told = [await collection_info(database, name) for name in names]
    uuids = [b"" if one is None else one.get("info", {}).get("uuid") for one in told]
    ids = [uuid.hex() for uuid in uuids if uuid is not None]
    return target(settings, _servers(hello, settings), ids if len(ids) == len(names) else None)


def target(settings: MongoSettings, servers: str, ids: list[str] | None) -> Target:
    """Return the target: a short digest, and what people know it by. Neither holds a secret."""
    kind, what = (COLLECTIONS, ids) if ids else (SERVERS, [servers])
    facts = "\n".join([*what, settings.database, settings.sessions, settings.events])
    key = f"{kind}-{sha256(facts.encode()).hexdigest()[:12]}"
    name = f"{settings.database} ({settings.sessions}, {settings.events}) at {servers}"
    return Target(key, name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")


def _servers(hello: Mapping[str, Any], settings: MongoSettings) -> str:
    """Return the names of a replica set and its hosts; else those that the URI gives."""
    hosts = hello.get("hosts")
    if not hosts:
        return settings.uri.get_secret_value().split("://", 1)[-1].rsplit("@", 1)[-1].split("/")[0]
    return "/".join([*filter(None, [hello.get("setName")]), ",".join(sorted(hosts))])


async def answers_hello(host: str, port: int, *, tls: bool) -> bool:
    """Whether a server answers who asks it with TLS, or without. Nobody logs in."""
    hello = bson.encode({"hello": 1, "$db": "admin"})
    message = struct.pack("<4iIB", 21 + len(hello), 1, 0, OP_MSG, 0, 0) + hello
    header = await first_bytes(host, port, message, 16, tls=tls)
    return header is not None and struct.unpack("<4i", header)[3] == OP_MSG
