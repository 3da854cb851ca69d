"""What server and collections have to be like; judges replies, asks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumer.checks import CheckResult
from consumer.mongo.indexes import is_simple

MINIMUM_VERSION = (7, 0, 6)
"""Older routers can hide a write-concern error behind a duplicate key, which would lose data."""


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
            "a single server without replica set: what it acknowledged is lost with its disk, "
            "and the driver retries no write",
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
    options = info.get("options", {})
    results = []
    kind = "capped" if options.get("capped") else info.get("type", "collection")
    if kind != "collection":
        results.append(
            CheckResult.failed(subject, f"is no plain collection but {kind}", "name another one")
        )
    if not is_simple(options.get("collation")):
        results.append(
            CheckResult.failed(
                subject,
                "its default collation is not simple: ids that differ would be taken for one",
                "copy its documents into a collection with simple collation",
            )
        )
    if options.get("validator"):
        results.append(
            CheckResult.warning(
                subject,
                "has a validator",
                "let it accept sessions that so far have a status only, or the order of "
                "messages decides what it refuses",
            )
        )
    return results or [CheckResult.ok(subject, "is there")]
