"""Makes the database ready and says whether it is as the design needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pymongo
from pymongo.errors import OperationFailure

from consumer.errors import PreconditionError
from consumer.findings import Finding, Status
from consumer.settings.groups import MongoSettings
from consumer.store.checks import check_collection, check_deployment, check_version
from consumer.store.clients import ACKNOWLEDGED, Client, Database, database_of
from consumer.store.failures import CodeClass, classify, translated
from consumer.store.indexes import Index, check_index, check_others, required_indexes

INDEX_BUILD_SECONDS = 3600.0
"""How long an index over documents that are already there may take to build."""

MAX_INDEXES = 64
"""What MongoDB allows in one collection, so that one answer has them all."""

_NAMESPACE_NOT_FOUND = 26

_LEFT_TO_THE_CHECK = {
    13: "Unauthorized",
    67: "CannotCreateIndex",
    85: "IndexOptionsConflict",
    86: "IndexKeySpecsConflict",
}
"""Why an index could not be made; the check says what is wrong with what is there."""


async def prepare(client: Client, settings: MongoSettings) -> Sequence[Finding]:
    """Create missing indexes where settings and grants allow it, then check everything.

    Returns the findings, warnings among them. Raises ``PreconditionError`` where one of them
    forbids a start, ``TransientError`` where the database could not be asked.
    """
    if settings.create_indexes:
        await create_indexes(client, settings)
    findings = await inspect(client, settings)
    refused = [finding for finding in findings if finding.status is Status.FAILED]
    if refused:
        raise PreconditionError(
            "\n".join(f"{found.name}: {found.detail}; cure: {found.cure}" for found in refused)
        )
    return findings


async def create_indexes(client: Client, settings: MongoSettings) -> None:
    """Create what is missing, one by one, so that a failure speaks of one index.

    Raises ``PreconditionError`` where documents that are already there are doubles.
    """
    database = database_of(client, settings)
    for index in required_indexes(settings):
        with translated():
            present = await _indexes_of(database, index.collection)
            if not any(index.has_key_of(other) for other in present):
                await _create(database, index)


async def _create(database: Database, index: Index) -> None:
    command = {
        "createIndexes": index.collection,
        "indexes": [index.specification()],
        "writeConcern": ACKNOWLEDGED.document,
    }
    try:
        # The build looks at every document: no command's usual deadline fits it.
        with pymongo.timeout(INDEX_BUILD_SECONDS):
            await _command(database, command)
    except OperationFailure as error:
        code = error.code or 0
        if classify(code) is CodeClass.DUPLICATE:
            # From None: the server's text quotes the ids of the doubles.
            raise PreconditionError(
                f"the unique index {index.name} of {index.collection} cannot be built: documents "
                f"that are already there have the same {' and '.join(index.fields)}; find them "
                f"with {index.doubles_query()} and keep one of each"
            ) from None
        if code not in _LEFT_TO_THE_CHECK:
            raise


async def inspect(
    client: Client, settings: MongoSettings, *, before_a_run: bool = False
) -> Sequence[Finding]:
    """Look at server, collections and indexes; changes nothing.

    ``before_a_run``: what a run would make by itself may be missing.
    Raises ``TransientError`` where the database could not be asked.
    """
    database = database_of(client, settings)
    required = required_indexes(settings)
    with translated():
        findings = [
            check_version(await _command(database, {"buildInfo": 1})),
            check_deployment(await _command(database, {"hello": 1})),
        ]
        for name in (settings.sessions, settings.events):
            findings += check_collection(name, await _collection_info(database, name))
            present = await _indexes_of(database, name)
            findings += [
                check_index(index, present, made_by_a_run=before_a_run and settings.create_indexes)
                for index in required
                if index.collection == name
            ]
            findings += check_others(name, required, present)
    return findings


async def _collection_info(database: Database, name: str) -> Mapping[str, Any] | None:
    command = {"listCollections": 1, "filter": {"name": name}}
    return next(iter(await _first_batch(database, command)), None)


async def _indexes_of(database: Database, name: str) -> Sequence[Mapping[str, Any]]:
    command = {"listIndexes": name, "cursor": {"batchSize": MAX_INDEXES + 1}}
    try:
        return await _first_batch(database, command)
    except OperationFailure as error:
        if error.code == _NAMESPACE_NOT_FOUND:
            return ()
        raise


async def _first_batch(database: Database, command: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
    batch: Sequence[Mapping[str, Any]] = (await _command(database, command))["cursor"]["firstBatch"]
    return batch


async def _command(database: Database, command: dict[str, Any]) -> Mapping[str, Any]:
    reply: Mapping[str, Any] = await database.command(command)
    return reply
