"""Making the collections, their indexes and, behind a router, their shard keys."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pymongo.errors import OperationFailure

from consumer.checks import CheckStatus, Provision, raise_if_failed
from consumer.errors import PreconditionError
from consumer.mongo.clients import Client, Database, collection_info, collection_names, database_of
from consumer.mongo.driver_errors import CodeClass, classify, driver_errors
from consumer.mongo.indexes import Index, check_index, create_call, required_indexes
from consumer.mongo.preflight import (
    INDEX_BUILD_SECONDS,
    cannot_be_used,
    check_collection,
    create_index,
    indexes_of,
)
from consumer.settings.model import MongoSettings

SHARD_KEY = {"sessionId": 1}

_NAMESPACE_EXISTS = 48


async def collection_provisions(client: Client, settings: MongoSettings) -> Sequence[Provision]:
    """Return what the database needs, in the order in which it is to be made.

    The unique indexes come before the shard keys: sharded first, the sessions would get an index
    on the key that is not unique, and cannot be dropped.
    Raises ``TransientError`` where the database could not be asked.
    """
    database = database_of(client, settings)
    names = collection_names(settings).values()
    with driver_errors():
        hello = await database.command({"hello": 1})
        infos = {name: await collection_info(database, name) for name in names}
        used = [name for name in names if not cannot_be_used(name, infos[name])]
        present = {name: await indexes_of(database, name) for name in used}
        sharded = {}
        if hello.get("msg") == "isdbgrid":
            sharded = {name: await _shard_key(client, settings, name) for name in used}
    return [
        *(_collection(database, name, infos[name]) for name in names),
        *(
            _index(database, one, present[one.collection])
            for one in required_indexes(settings)
            if one.collection in present
        ),
        *_shard_keys(client, settings, sharded),
    ]


def _collection(database: Database, name: str, info: Mapping[str, Any] | None) -> Provision:
    subject = f"collection {name}"
    if info is not None:
        wrong = [r for r in check_collection(name, info) if r.status is CheckStatus.FAILED]
        if wrong:
            detail = f"{wrong[0].detail}; {wrong[0].fix}"
            return Provision(subject, there=True, detail=detail, wrong=True)
        return Provision(subject, there=True)

    async def make() -> None:
        with driver_errors(), _refusal_told(subject, f"createCollection on {name}"):
            await database.command({"create": name})

    command = mongosh(database.name, f"createCollection({json.dumps(name)})")
    return Provision(subject, there=False, command=command, make=make)


def _index(database: Database, index: Index, present: Sequence[Mapping[str, Any]]) -> Provision:
    found = check_index(index, present)
    kind = "unique" if index.unique else "TTL" if index.expires else ""
    if found.status is CheckStatus.OK:
        return Provision(found.name, there=True, detail=kind)
    if any(index.has_key_of(other) for other in present):
        detail = f"{found.detail}; {found.fix}"
        return Provision(found.name, there=True, detail=detail, wrong=True)

    async def make() -> None:
        with driver_errors():
            await create_index(database, index, INDEX_BUILD_SECONDS)
            # What the server refuses for want of a grant the call above leaves to this check.
            raise_if_failed([check_index(index, await indexes_of(database, index.collection))])

    return Provision(
        found.name,
        there=False,
        detail=kind,
        command=mongosh(
            database.name, f"getCollection({json.dumps(index.collection)}).{create_call(index)}"
        ),
        make=make,
    )


async def _shard_key(client: Client, settings: MongoSettings, name: str) -> Any:  # noqa: ANN401
    # -- a document, or None
    find = {"find": "collections", "filter": {"_id": f"{settings.database}.{name}"}, "limit": 1}
    found = (await client["config"].command(find))["cursor"]["firstBatch"]
    return found[0].get("key") if found and not found[0].get("unsplittable") else None


def _shard_keys(
    client: Client, settings: MongoSettings, keys: Mapping[str, Any]
) -> Iterator[Provision]:
    for name, key in keys.items():
        subject, namespace = f"shard key of {name}", f"{settings.database}.{name}"
        if key is not None:
            right = dict(key) == SHARD_KEY
            detail = f"{dict(key)}" if right else f"is {dict(key)}, not {SHARD_KEY}; reshard it"
            yield Provision(subject, there=True, detail=detail, wrong=not right)
            continue
        # Where a session has one document alone, the shard key is the unique index.
        unique = ("sessionId",) in (
            index.fields for index in required_indexes(settings) if index.collection == name
        )
        shard = {"shardCollection": namespace, "key": SHARD_KEY, "unique": unique}
        options = f"{json.dumps(namespace)}, {{sessionId: 1}}, {json.dumps(unique)}"
        yield Provision(
            subject,
            there=False,
            detail=f"{SHARD_KEY}",
            command=_shell(f"sh.shardCollection({options})"),
            make=partial(_shard, client, shard, subject),
        )


async def _shard(client: Client, command: dict[str, Any], subject: str) -> None:
    with driver_errors(), _refusal_told(subject, "enableSharding"):
        await client.admin.command(command)


@contextmanager
def _refusal_told(subject: str, action: str) -> Iterator[None]:
    """Raise ``PreconditionError`` where the server refuses; one who was faster is no trouble."""
    try:
        yield
    except OperationFailure as error:
        if error.code == _NAMESPACE_EXISTS:
            return
        if error.code is None or classify(error.code) is CodeClass.TIMED_OUT:
            raise
        why = (error.details or {}).get("codeName", f"code {error.code}")
        # From None: a server's text may quote anything.
        raise PreconditionError(f"{subject}: refused ({why}); fix: grant {action}") from None


def mongosh(database: str, call: str) -> str:
    """Return the shell's command for a call on a database; the URI stays in its variable."""
    return _shell(f"db.getSiblingDB({json.dumps(database)}).{call}")


def _shell(script: str) -> str:
    return f'mongosh "$CONSUMER_MONGO__URI" --eval {shlex.quote(script)}'
