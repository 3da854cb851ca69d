"""What server and collections have to be like; judges replies, asks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumer.findings import Finding, Status
from consumer.mongo.indexes import is_simple

MINIMUM_VERSION = (7, 0, 6)
"""Older routers can hide a write-concern error behind a duplicate key, which would lose data."""


def check_version(build: Mapping[str, Any]) -> Finding:
    """Compare the version that buildInfo tells with the oldest that is safe."""
    name = "MongoDB version"
    version = tuple(build["versionArray"][:3])
    shown = ".".join(str(part) for part in version)
    minimum = ".".join(str(part) for part in MINIMUM_VERSION)
    if version < MINIMUM_VERSION:
        return Finding(name, Status.FAILED, f"{shown} is too old", f"upgrade to {minimum} or newer")
    return Finding(name, Status.OK, f"{shown}, at least {minimum}")


def check_deployment(hello: Mapping[str, Any]) -> Finding:
    """See from the answer to hello whether a majority means anything."""
    name = "MongoDB deployment"
    if hello.get("msg") == "isdbgrid":
        return Finding(name, Status.OK, "sharded cluster")
    if "setName" not in hello:
        return Finding(
            name,
            Status.WARNING,
            "a single server without replica set: what it acknowledged is lost with its disk, "
            "and the driver retries no write",
            "run a replica set",
        )
    members = len(hello.get("hosts", ()))
    if hello.get("arbiters"):
        return Finding(
            name,
            Status.WARNING,
            f"replica set of {members} and an arbiter",
            "let the arbiter bear data: with one member down no majority acknowledges, and "
            "the service waits",
        )
    return Finding(name, Status.OK, f"replica set of {members}")


def check_collection(name: str, info: Mapping[str, Any] | None) -> Sequence[Finding]:
    """Look at what listCollections tells; a collection that is not there yet is in order."""
    subject = f"collection {name}"
    if info is None:
        return [Finding(subject, Status.OK, "is not there yet; the first write creates it")]
    options = info.get("options", {})
    findings = []
    kind = "capped" if options.get("capped") else info.get("type", "collection")
    if kind != "collection":
        findings.append(
            Finding(
                subject, Status.FAILED, f"is no plain collection but {kind}", "name another one"
            )
        )
    if not is_simple(options.get("collation")):
        findings.append(
            Finding(
                subject,
                Status.FAILED,
                "its default collation is not simple: ids that differ would be taken for one",
                "copy its documents into a collection with simple collation",
            )
        )
    if options.get("validator"):
        findings.append(
            Finding(
                subject,
                Status.WARNING,
                "has a validator",
                "let it accept sessions that so far have a status only, or the order of "
                "messages decides what it refuses",
            )
        )
    return findings or [Finding(subject, Status.OK, "is there")]
