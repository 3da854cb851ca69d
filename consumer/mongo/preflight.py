"""What server, collections and indexes have to be like, and making them so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pymongo
from pymongo.errors import OperationFailure

from consumer.checks import CheckResult, CheckStatus, raise_if_failed
from consumer.errors import PreconditionError
from consumer.mongo import clients, indexes
from consumer.mongo.clients import Client, Database
from consumer.mongo.driver_errors import CodeClass, classify, driver_errors
from consumer.mongo.indexes import Index
from consumer.settings.model import MongoSettings

MINIMUM_VERSION = (7, 0, 6)
"""Older routers can hide a write-concern error behind a duplicate key, which would lose data."""


INDEX_BUILD_SECONDS = 3600.0
"""How long an index over documents that are already there may take to build."""

MAX_INDEXES = 64
"""What MongoDB allows in one collection, so that one answer has them all."""

_NAMESPACE_NOT_FOUND = 26

_KNOWS_NO_OPTION = frozenset({2, 9, 14, 59, 72, 115, 238, 303, 40415})
"""How servers refuse an option they do not know; those that only speak the protocol, too."""

_LEFT_TO_THE_CHECK = {
    13: "Unauthorized",
    67: "CannotCreateIndex",
    85: "IndexOptionsConflict",
    86: "IndexKeySpecsConflict",
}
"""Why an index could not be made; the check says what is wrong with what is there."""


def check_version(build: Mapping[str, Any]) -> CheckResult:
    """Compare the version that buildInfo tells with the oldest that is safe."""
    name = "MongoDB version"
    version = tuple(build["versionArray"][:3])
    shown = ".".join(str(part) for part in version)
    minimum = ".".join(str(part) for part in MINIMUM_VERSION)
    if version < MINIMUM_VERSION:
        return CheckResult.failed(name, f"{shown} is too old", f"upgrade to {minimum} or newer")
    return CheckResult.ok(name, f"{shown}, at least {minimum}")


def check_deployment(hello: Mapping[str, Any]) -> CheckResult:
    """See from the answer to hello whether a majority means anything."""
    name = "MongoDB deployment"
    if hello.get("msg") == "isdbgrid":
        return CheckResult.ok(name, "sharded cluster")
    if "setName" not in hello:
        return CheckResult.warning(
            name,
            "a single server without replica set: what it acknowledged is lost with its disk",
            "run a replica set",
        )
    members = len(hello.get("hosts", ()))
    if hello.get("arbiters"):
        return CheckResult.warning(
            name,
            f"replica set of {members} and an arbiter",
            "let the arbiter bear data: with one member down no majority acknowledges, and "
            "the service waits",
        )
    return CheckResult.ok(name, f"replica set of {members}")


def check_collection(name: str, info: Mapping[str, Any] | None) -> Sequence[CheckResult]:
    """Look at what listCollections tells; a collection that is not there yet is in order."""
    subject = f"collection {name}"
    if info is None:
        return [CheckResult.ok(subject, "is not there yet; the first write creates it")]
    return list(_collection_flaws(subject, info)) or [CheckResult.ok(subject, "is there")]


def _collection_flaws(subject: str, info: Mapping[str, Any]) -> Iterator[CheckResult]:
    options = info.get("options", {})
    kind = "capped" if options.get("capped") else info.get("type", "collection")
    if kind != "collection":
        yield CheckResult.failed(subject, f"is no plain collection but {kind}", "name another one")
    if not indexes.is_simple(options.get("collation")):
        yield CheckResult.failed(
            subject,
            "its default collation is not simple: ids that differ would be taken for one",
            "copy its documents into a collection with simple collation",
        )
    if options.get("validator"):
        yield CheckResult.warning(
            subject,
            "has a validator",
            "let it accept all that is written, also sessions that so far have a status only, or "
            "the order of messages decides what it refuses",
        )


def cannot_be_used(name: str, info: Mapping[str, Any] | None) -> bool:
    """Whether it is no collection of ours, whatever indexes it has: nothing is made on it."""
    return any(one.status is CheckStatus.FAILED for one in check_collection(name, info))


WRITING = ("find", "insert", "update")
"""The actions on all collections without which no record is applied."""

ANY_ACTION = "anyAction"
"""Stands for all of them, and is told alone."""

_GRANTS_NOT_TOLD = CheckResult.warning(
    "grants of MongoDB",
    "the server does not tell what is granted",
    f"see to it that {', '.join(WRITING)} are granted on all collections",
)


def check_grants(settings: MongoSettings, answer: Mapping[str, Any]) -> Sequence[CheckResult]:
    """Look at what connectionStatus tells of the user's privileges on the collections.

    To be asked once the server has listed collections: whoever is not logged in may do all then.
    """
    told = answer["authInfo"]
    if not told.get("authenticatedUsers"):
        return [CheckResult.ok("grants of MongoDB", "nobody is logged in, and nobody has to be")]
    privileges = told.get("authenticatedUserPrivileges")
    if not privileges:  # of an imitation: who has none may not list collections, either
        return [_GRANTS_NOT_TOLD]
    results = []
    for collection in clients.collection_names(settings).values():
        place = f"{settings.database}.{collection}"
        granted = {
            action
            for privilege in privileges
            if _covers(privilege["resource"], settings.database, collection)
            for action in privilege["actions"]
        }
        if ANY_ACTION in granted:
            granted |= {*WRITING, "createIndex"}
        lacking = ", ".join(action for action in WRITING if action not in granted)
        name = f"writing to {collection}"
        if lacking:
            fix = f"grant {lacking} on {place}"
            results.append(CheckResult.failed(name, f"not authorized: {lacking}", fix))
        elif settings.create_indexes and "createIndex" not in granted:
            fix = (
                f"grant createIndex on {place}, or set mongo.create_indexes to false once consumer "
                "init has made the indexes"
            )
            detail = "allowed; but createIndex is not: an index that is missing keeps a run away"
            results.append(CheckResult.warning(name, detail, fix))
        else:
            results.append(CheckResult.ok(name, "allowed"))
    return results


def _covers(resource: Mapping[str, Any], database: str, collection: str) -> bool:
    """Whether a privilege is about a collection. An empty name stands for all."""
    named = resource.get("db") in {"", database} and resource.get("collection") in {"", collection}
    return named or bool(resource.get("anyResource"))


async def _granted(database: Database, settings: MongoSettings) -> Sequence[CheckResult]:
    try:
        answer = await database.command({"connectionStatus": 1, "showPrivileges": True})
    except OperationFailure as error:
        if error.code not in _KNOWS_NO_OPTION:
            raise
        return [_GRANTS_NOT_TOLD]
    return check_grants(settings, answer)


async def run_preflight(client: Client, settings: MongoSettings) -> Sequence[CheckResult]:
    """Create missing indexes where settings and grants allow it, then check everything.

    Returns the results, warnings among them. Raises ``PreconditionError`` where one of them
    forbids a start, ``TransientError`` where the database could not be asked.
    """
    if settings.create_indexes:
        await create_indexes(client, settings)
    results = await inspect_database(client, settings)
    raise_if_failed(results)
    return results


async def create_indexes(client: Client, settings: MongoSettings) -> None:
    """Create them, one by one, so that a failure speaks of one index.

    Also those that are listed: the server waits for one that is still being built, and a router
    asks every shard, while it lists the indexes of one shard only.
    Raises ``PreconditionError`` where documents that are already there have the same key.
    """
    database = clients.database_of(client, settings)
    for index in indexes.required_indexes(settings):
        with driver_errors():
            info = await clients.collection_info(database, index.collection)
            if cannot_be_used(index.collection, info):
                continue
            # Asked first, so that a server that is away is not waited for as long as for a build.
            present = await indexes_of(database, index.collection)
            built = any(index.has_key_of(other) and indexes.BUILD not in other for other in present)
            await create_index(database, index, settings.timeout if built else INDEX_BUILD_SECONDS)


async def create_index(database: Database, index: Index, seconds: float) -> None:
    """Create one and wait until it is built; why it could not be made is left to the check."""
    command = {
        "createIndexes": index.collection,
        "indexes": [index.specification()],
        "writeConcern": clients.ACKNOWLEDGED.document,
    }
    try:
        # The build looks at every document: no command's usual deadline fits it.
        with pymongo.timeout(seconds):
            await database.command(command)
    except OperationFailure as error:
        code = error.code or 0
        if classify(code) is CodeClass.DUPLICATE:
            # From None: the server's text quotes their ids.
            raise PreconditionError(_cannot_be_built(index, error.details or {})) from None
        if code not in _LEFT_TO_THE_CHECK:
            raise


def _cannot_be_built(index: Index, details: Mapping[str, Any]) -> str:
    fields = " and ".join(index.fields)
    if any(value is None for value in details.get("keyValue", {}).values()):
        what = f"lack {' or '.join(index.fields)}, which is one value to the index"
        fix = f"{index.absence_query()} and remove them, or give each its own"
    else:
        what = f"have the same {fields}"
        fix = f"{index.duplicates_query()} and keep one of each"
    return (
        f"the unique index {index.name} of {index.collection} cannot be built: documents "
        f"that are already there {what}; find them with {fix}"
    )


async def inspect_database(
    client: Client, settings: MongoSettings, *, before_a_run: bool = False
) -> Sequence[CheckResult]:
    """Look at server, collections and indexes; changes nothing.

    ``before_a_run``: what a run would make by itself may be missing.
    Raises ``TransientError`` where the database could not be asked.
    """
    database = clients.database_of(client, settings)
    made_by_a_run = before_a_run and settings.create_indexes
    with driver_errors():
        results = [
            check_version(await database.command({"buildInfo": 1})),
            check_deployment(await database.command({"hello": 1})),
            *await _collections(
                database, settings, indexes.required_indexes(settings), made_by_a_run=made_by_a_run
            ),
        ]
        if before_a_run:
            results += await _granted(database, settings)
            results += await _not_empty(database, settings)
    return results


async def _not_empty(database: Database, settings: MongoSettings) -> Sequence[CheckResult]:
    """Refuse a database that has nothing of ours: where its name is mistyped all looks well."""
    names = (settings.sessions, settings.events)
    if any([await clients.collection_info(database, name) for name in names]):
        return []
    return [
        CheckResult.failed(
            f"database {settings.database}",
            f"has neither {settings.sessions} nor {settings.events}",
            "is mongo.database right? consumer init makes the collections and their indexes",
        )
    ]


async def verify_unique_indexes(client: Client, settings: MongoSettings) -> None:
    """Look again at what a running service relies on: the unique indexes, and no foreign ones.

    Raises ``PreconditionError`` where they are not as needed any more, ``TransientError`` where
    the database could not be asked.
    """
    database = clients.database_of(client, settings)
    arbiters = [index for index in indexes.required_indexes(settings) if index.unique]
    with driver_errors():
        results = await _collections(database, settings, arbiters, made_by_a_run=False)
    raise_if_failed(results)


async def _collections(
    database: Database,
    settings: MongoSettings,
    required: Sequence[Index],
    *,
    made_by_a_run: bool,
) -> Sequence[CheckResult]:
    results: list[CheckResult] = []
    for name in clients.collection_names(settings).values():
        info = await clients.collection_info(database, name)
        results += check_collection(name, info)
        if cannot_be_used(name, info):
            continue  # a view has no indexes, and others none that would do
        present = await indexes_of(database, name)
        results += [
            indexes.check_index(index, present, made_by_a_run=made_by_a_run)
            for index in required
            if index.collection == name
        ]
        results += indexes.check_others(name, indexes.required_indexes(settings), present)
    return results


async def indexes_of(database: Database, name: str) -> Sequence[Mapping[str, Any]]:
    """Return the indexes of a collection, ``listed``."""
    command = {"listIndexes": name, "cursor": {"batchSize": MAX_INDEXES + 1}}
    try:
        try:
            entries = await clients.first_batch(database, command | {"includeIndexBuildInfo": True})
        except OperationFailure as error:
            if error.code not in _KNOWS_NO_OPTION:
                raise
            entries = await clients.first_batch(database, command)
    except OperationFailure as error:
        if error.code == _NAMESPACE_NOT_FOUND:
            return ()
        raise
    return [indexes.listed(entry) for entry in entries]
