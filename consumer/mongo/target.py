"""Which database it is that documents go to: by what it is, not by how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from consumer.mongo.clients import Client, database_of
from consumer.mongo.failures import translated
from consumer.ports import Target
from consumer.settings.model import MongoSettings

COLLECTIONS, SERVERS = "c", "s"
"""What a key rests on, as its first letter: the collections' own ids, or the servers' names."""

LONGEST_NAME = 200


async def target_of(client: Client, settings: MongoSettings) -> Target:
    """Ask the database which one it is. Raises ``TransientError`` where it does not answer.

    Each collection has an id of its own for as long as it is there, the same behind whichever
    host, and another one in another cluster. Servers that tell none go by their hosts' names.
    """
    database = database_of(client, settings)
    names = (settings.sessions, settings.events)
    with translated():
        hello = await database.command({"hello": 1})
        ids: list[str] = []
        for name in names:
            command = {"listCollections": 1, "filter": {"name": name}}
            found = (await database.command(command))["cursor"]["firstBatch"]
            ids += [told.hex() for one in found if (told := one.get("info", {}).get("uuid"))]
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
