"""The names of all settings, found by walking the model, and what is known about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from consumer.settings.root import Settings
from consumer.settings.values import Allowed

ENVIRONMENT_PREFIX = "CONSUMER_"
GROUP_DELIMITER = "__"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting, as the documentation shows it.

    ``secret`` marks what is never shown and may come from a file.
    """

    name: str
    env: str
    default: str
    allowed: str
    meaning: str
    secret: bool


def describe() -> tuple[SettingRow, ...]:
    """All settings, in the order of the model."""
    return tuple(CATALOGUE.values())


def environment_name(name: str) -> str:
    """``kafka.group_id`` as ``CONSUMER_KAFKA__GROUP_ID``."""
    return ENVIRONMENT_PREFIX + name.upper().replace(".", GROUP_DELIMITER)


def _walk(model: type[BaseModel], prefix: str) -> Iterator[SettingRow]:
    for field_name, field in model.model_fields.items():
        name = prefix + field_name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, name + ".")
        else:
            yield _row(name, field)


def _row(name: str, field: FieldInfo) -> SettingRow:
    parts = list(_parts(field.annotation))
    return SettingRow(
        name=name,
        env=environment_name(name),
        default=_shown(field.default),
        allowed=_allowed([*field.metadata, *parts]),
        meaning=" ".join((field.description or "").split()),
        secret=SecretStr in parts,
    )


def _parts(annotation: object) -> Iterator[object]:
    """Everything an annotation is made of: types, union members, annotations' metadata."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _allowed(parts: list[object]) -> str:
    for part in parts:
        if isinstance(part, Allowed):
            return part.words
    for part in parts:
        if isinstance(part, type) and issubclass(part, StrEnum):
            return ", ".join(part)
        if part is bool:
            return "true, false"
    return "any text"


def _shown(default: Any) -> str:  # noqa: ANN401 -- a default has any of the settings' types
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case tuple():
            return ",".join(default)
        case SecretStr():
            return default.get_secret_value()
        case _:
            return str(default)


CATALOGUE: Mapping[str, SettingRow] = MappingProxyType(
    {row.name: row for row in _walk(Settings, "")}
)
