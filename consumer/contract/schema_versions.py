"""Versions of the kinds of message, and how an older message becomes one of the newest.

The one place that knows of versions: what reads, writes or describes messages asks here. What is
compatible, and what needs a new version, is in docs/contract.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

FIRST_VERSION: Final = 1
"""The version of a message that states none."""

Fields = dict[str, Any]
"""The JSON object of a message, in a CloudEvent its data: names and values of any type."""

Upcaster = Callable[[Fields], Fields]
"""Returns the fields of a message as the next version writes them. Pure.

It gets what was sent, unchecked; the result is validated. What it raises makes the message
``invalid``. What an older version stored must stay what it stores.
"""


class NoFieldsError(TypeError):
    """An upcaster returned something else than fields. The text quotes no value."""


UPCASTERS: Final[dict[tuple[str, int], Upcaster]] = {}
"""By kind and version. A kind's newest version is the one that follows its last upcaster."""


def newest_version(kind: str) -> int:
    """Return the version of ``kind`` that is read without an upcaster, and written."""
    version = FIRST_VERSION
    while (kind, version) in UPCASTERS:
        version += 1
    return version


def upcast(kind: str, version: int, fields: Fields) -> Fields:
    """Return the fields of a message of ``version`` in the newest.

    Raises ``NoFieldsError``, and what upcasters raise.
    """
    while (upcaster := UPCASTERS.get((kind, version))) is not None:
        made: object = upcaster(fields)  # others' code: it may forget what it is to return
        if not isinstance(made, dict):
            raise NoFieldsError(f"the upcaster of version {version} must return an object")
        fields = made
        version += 1
    return fields
