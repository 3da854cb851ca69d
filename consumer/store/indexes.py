"""The indexes the design rests on: which they are, making them, and checking what is there.

The unique ones are the arbiter of every race and every redelivery. Without them each promise
of the store is void, so that nothing runs before they have been seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.findings import Finding, Status
from consumer.settings.groups import MongoSettings
from consumer.store.collections import EVENT_KEY, SESSION_KEY


@dataclass(frozen=True, slots=True)
class Index:
    """An index as it has to be: ascending, whole, with simple collation, visible to queries."""

    collection: str
    fields: tuple[str, ...]
    unique: bool = False
    expires: bool = False

    @property
    def name(self) -> str:
        """MongoDB's own name for it."""
        return "_".join(f"{field}_1" for field in self.fields)

    @property
    def key(self) -> dict[str, int]:
        """The key pattern."""
        return dict.fromkeys(self.fields, 1)

    def has_key_of(self, other: Mapping[str, Any]) -> bool:
        """Tell whether an index of listIndexes has exactly these fields in this order."""
        return list(other["key"].items()) == list(self.key.items())

    def specification(self) -> dict[str, Any]:
        """Return what createIndexes takes."""
        options: dict[str, Any] = {"key": self.key, "name": self.name}
        if self.unique:
            options["unique"] = True
        if self.expires:
            options["expireAfterSeconds"] = 0
        return options

    def doubles_query(self) -> str:
        """Return a mongosh query that finds what stands in the way of uniqueness."""
        group = ", ".join(f'{field}: "${field}"' for field in self.fields)
        return (
            f"db.{self.collection}.aggregate([{{$group: {{_id: {{{group}}}, n: {{$sum: 1}}}}}}, "
            "{$match: {n: {$gt: 1}}}], {allowDiskUse: true})"
        )


def required_indexes(settings: MongoSettings) -> Sequence[Index]:
    """Return the indexes that have to be there."""
    indexes = [
        Index(settings.sessions, SESSION_KEY, unique=True),
        Index(settings.events, EVENT_KEY, unique=True),
        # eventId makes the order total: a page border neither skips nor repeats an event.
        Index(settings.events, ("sessionId", "timestamp", "eventId")),
    ]
    if settings.retention_days is not None:
        indexes += [
            Index(settings.sessions, ("expireAt",), expires=True),
            Index(settings.events, ("expireAt",), expires=True),
        ]
    return indexes


def check_index(
    required: Index, present: Sequence[Mapping[str, Any]], *, made_by_a_run: bool = False
) -> Finding:
    """Compare what has to be there with what listIndexes told of the collection.

    ``made_by_a_run``: a missing one forbids nothing, since the next run begins with making it.
    """
    name = f"index {required.name} of {required.collection}"
    flaws = [_flaws(required, index) for index in present if required.has_key_of(index)]
    if not flaws and made_by_a_run:
        return Finding(
            name, Status.WARNING, "is missing; the next run makes it", _creation(required)
        )
    if not flaws:
        return Finding(name, Status.FAILED, "is missing", _creation(required))
    if [] in flaws:
        return Finding(name, Status.OK, "is there")
    return Finding(
        name,
        Status.FAILED,
        f"is there, but {' and '.join(flaws[0])}",
        f"drop it, then {_creation(required)}",
    )


def check_others(
    collection: str, required: Sequence[Index], present: Sequence[Mapping[str, Any]]
) -> Sequence[Finding]:
    """Look for indexes of others that reject or delete what the service writes."""
    own = [index for index in required if index.collection == collection]
    unique_fields = {field for index in own if index.unique for field in index.fields}
    findings: list[Finding] = []
    for other in present:
        name = f"index {other['name']} of {collection}"
        if list(other["key"]) == ["_id"] or any(index.has_key_of(other) for index in own):
            continue
        if other.get("unique") and not unique_fields <= set(other["key"]):
            findings.append(
                Finding(
                    name,
                    Status.FAILED,
                    "is unique too and rejects documents that are no doubles",
                    "drop it",
                )
            )
        if "expireAfterSeconds" in other:
            findings.append(
                Finding(
                    name,
                    Status.WARNING,
                    "deletes documents by a rule that is not the service's",
                    "drop it; set mongo.retention_days where documents are to be deleted by age",
                )
            )
    return findings


def _flaws(required: Index, index: Mapping[str, Any]) -> list[str]:
    """Say what keeps an index with the right key from doing its work."""
    flaws = []
    if required.unique and not index.get("unique"):
        flaws.append("it is not unique")
    if index.get("hidden"):
        flaws.append("it is hidden")
    if index.get("sparse"):
        flaws.append("it is sparse")
    if "partialFilterExpression" in index:
        flaws.append("it is partial")
    if not is_simple(index.get("collation")):
        flaws.append("its collation is not simple")
    if required.expires and index.get("expireAfterSeconds") != 0:
        flaws.append("its expireAfterSeconds is not 0")
    return flaws


def is_simple(collation: Mapping[str, Any] | None) -> bool:
    """Tell whether strings are compared byte by byte."""
    return collation is None or collation.get("locale") == "simple"


def _creation(required: Index) -> str:
    """Return a mongosh call that makes the index."""
    key = ", ".join(f"{field}: 1" for field in required.fields)
    options = ""
    if required.unique:
        options = ", {unique: true}"
    elif required.expires:
        options = ", {expireAfterSeconds: 0}"
    return f"create it: db.{required.collection}.createIndex({{{key}}}{options})"
