"""The kinds of message that installed packages add, found by their entry points."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Final

from consumer.contract.kinds import Kind, set_own_kinds
from consumer.errors import USER_CODE_ERRORS, SettingsError
from consumer.settings.model import MongoSettings

GROUP: Final = "conversation_consumer.kinds"
"""The group of entry points; each names a ``consumer.contract.kinds.Kind``."""


def load_own_kinds(mongo: MongoSettings) -> None:
    """Let all kinds be known that installed packages declare.

    Raises ``SettingsError`` with one line for the first that cannot be loaded, or not be stored
    idempotently beside the others.
    """
    try:
        set_own_kinds(_declared(), (mongo.sessions, mongo.events))
    except ValueError as error:
        raise SettingsError(f"entry points of {GROUP}: {error}") from None


def _declared() -> Iterator[Kind]:
    for entry in sorted(entry_points(group=GROUP), key=attrgetter("name")):
        place = f"entry point {entry.name} = {entry.value} of {GROUP}"
        try:
            kind = entry.load()
        except USER_CODE_ERRORS as error:
            said = str(error).partition("\n")[0]
            problem = f"cannot be loaded: {type(error).__name__}: {said}"
            raise SettingsError(f"{place} {problem}") from error
        if not isinstance(kind, Kind):
            raise SettingsError(f"{place} is no consumer.contract.kinds.Kind")
        yield kind
