"""Versions of the kinds of message, and how an older message becomes one of the newest.

Which versions a kind has is declared with it. What is compatible, and what needs a new version, is
in docs/contract.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def upcast(upcasters: Sequence[Upcaster], version: int, fields: Fields) -> Fields:
    """Return the fields of a message of ``version`` in the newest.

    Raises ``NoFieldsError``, and what upcasters raise.
    """
    for at, upcaster in enumerate(upcasters[version - FIRST_VERSION :], version):
        made: object = upcaster(fields)  # others' code: it may forget what it is to return
        if not isinstance(made, dict):
            raise NoFieldsError(f"the upcaster of version {at} must return an object")
        fields = made
    return fields
