"""The indexes the design rests on: which they are, making them, and checking what is there.

The unique ones are the arbiter of every race and every redelivery. Without them each promise
of the store is void, so that nothing runs before they have been seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.checks import CheckResult
from consumer.contract.kinds import key_of
from consumer.mongo.clients import collection_names
from consumer.settings.model import MongoSettings


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

    @property
    def options(self) -> dict[str, Any]:
        """What else createIndexes has to be told, by the same names in mongosh."""
        return (
            {"unique": True} if self.unique else {"expireAfterSeconds": 0} if self.expires else {}
        )

    def specification(self) -> dict[str, Any]:
        """Return what createIndexes takes."""
        return {"key": self.key, "name": self.name, **self.options}

    def absence_query(self) -> str:
        """Return a mongosh query that finds documents without one of the fields."""
        condition = json.dumps({"$or": [{field: None} for field in self.fields]})
        return f"{shell_collection(self.collection)}.find({condition})"

    def duplicates_query(self) -> str:
        """Return a mongosh query that finds what stands in the way of uniqueness."""
        group = {"_id": {field: f"${field}" for field in self.fields}, "n": {"$sum": 1}}
        stages = json.dumps([{"$group": group}, {"$match": {"n": {"$gt": 1}}}])
        return f"{shell_collection(self.collection)}.aggregate({stages}, {{allowDiskUse: true}})"


def required_indexes(settings: MongoSettings) -> Sequence[Index]:
    """Return the indexes that have to be there."""
    names = collection_names(settings)
    indexes = [Index(stored_as, key_of(name), unique=True) for name, stored_as in names.items()]
    # eventId makes the order total: a page border neither skips nor repeats an event.
    indexes.append(Index(settings.events, ("sessionId", "timestamp", "eventId")))
    if settings.retention_days is not None:
        indexes += [Index(stored_as, ("expireAt",), expires=True) for stored_as in names.values()]
    return indexes


BUILD = "indexBuildInfo"
"""What listIndexes tells beside an index that is not built yet."""


def listed(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an index of listIndexes as createIndexes takes it, with ``BUILD`` while it is built.

    Asked for build info the server puts the index itself below ``spec``; one that does not
    know the question answers without.
    """
    index: Mapping[str, Any] = entry.get("spec", entry)
    return {**index, BUILD: entry[BUILD]} if BUILD in entry else index


def check_index(
    required: Index, present: Sequence[Mapping[str, Any]], *, made_by_a_run: bool = False
) -> CheckResult:
    """Compare what has to be there with what listIndexes told of the collection, ``listed``.

    ``made_by_a_run``: a missing one forbids nothing, since the next run begins with making it.
    """
    name = f"index {required.name} of {required.collection}"
    alike = [index for index in present if required.has_key_of(index)]
    flaws = [_flaws(required, index) for index in alike if BUILD not in index]
    if not flaws:
        result = CheckResult.warning if made_by_a_run else CheckResult.failed
        if not alike:
            missing = "is missing; the next run makes it" if made_by_a_run else "is missing"
            return result(name, missing, _creation(required))
        return result(
            name,
            "is still being built, and until then forbids nothing; the build fails where "
            "documents have the same key",
            "wait until it is built; db.currentOp() shows it",
        )
    if [] in flaws:
        return CheckResult.ok(name, "is there")
    return CheckResult.failed(
        name,
        f"is there, but {' and '.join(flaws[0])}",
        _conversion(required)
        if flaws[0] == [_NOT_UNIQUE]
        else f"drop it, then {_creation(required)}",
    )


def check_others(
    collection: str, required: Sequence[Index], present: Sequence[Mapping[str, Any]]
) -> Iterator[CheckResult]:
    """Look for indexes of others that reject or delete what the service writes."""
    own = [index for index in required if index.collection == collection]
    unique_fields = {field for index in own if index.unique for field in index.fields}
    for other in present:
        name = f"index {other['name']} of {collection}"
        if list(other["key"]) == ["_id"] or any(index.has_key_of(other) for index in own):
            continue
        if other.get("unique") and not unique_fields <= set(other["key"]):
            yield CheckResult.failed(
                name, "is unique too and rejects documents that are not duplicates", "drop it"
            )
        if "expireAfterSeconds" in other:
            yield _deletes(name, collection, other)


_NOT_UNIQUE = "it is not unique"


def _flaws(required: Index, index: Mapping[str, Any]) -> list[str]:
    """Say what keeps an index with the right key from doing its work."""
    flaws = {
        _NOT_UNIQUE: required.unique and not index.get("unique"),
        "it is hidden": index.get("hidden"),
        "it is sparse": index.get("sparse"),
        "it is partial": "partialFilterExpression" in index,
        "its collation is not simple": not is_simple(index.get("collation")),
        "its expireAfterSeconds is not 0": required.expires
        and index.get("expireAfterSeconds") != 0,
    }
    return [flaw for flaw, found in flaws.items() if found]


def is_simple(collation: Mapping[str, Any] | None) -> bool:
    """Tell whether strings are compared byte by byte."""
    return collation is None or collation.get("locale") == "simple"


def _deletes(name: str, collection: str, other: Mapping[str, Any]) -> CheckResult:
    """Warn of an index that deletes documents, by the service's former rule or by another."""
    drop = f"{shell_collection(collection)}.dropIndex({json.dumps(other['name'])})"
    if list(other["key"]) == ["expireAt"]:
        return CheckResult.warning(
            name,
            "deletes documents that were stored while mongo.retention_days was set",
            f"to keep them: {drop}",
        )
    return CheckResult.warning(
        name,
        "deletes documents by a rule that is not the service's",
        f"{drop}; set mongo.retention_days where documents are to be deleted by age",
    )


def shell_collection(name: str) -> str:
    """Return a collection as mongosh takes it, whatever its name."""
    return f"db.getCollection({json.dumps(name)})"


def create_call(required: Index) -> str:
    """Return the call of mongosh on the collection that makes the index."""
    arguments = ", ".join(json.dumps(one) for one in (required.key, required.options) if one)
    return f"createIndex({arguments})"


def _creation(required: Index) -> str:
    return f"create it: {shell_collection(required.collection)}.{create_call(required)}"


def _conversion(required: Index) -> str:
    """Return how an index becomes unique without being dropped: a shard key's cannot be."""
    key = json.dumps(required.key)
    name = json.dumps(required.collection)
    change = f"db.runCommand({{collMod: {name}, index: {{keyPattern: {key}, "
    return (
        f"make it unique: {change}prepareUnique: true}}}}), then {change}unique: true}}}}); or "
        f"make another one beside it: {shell_collection(required.collection)}.createIndex({key}, "
        f'{{unique: true, name: "{required.name}_unique"}})'
    )
