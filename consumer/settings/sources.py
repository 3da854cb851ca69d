"""The catalogue of all settings, and where their values come from: nothing else reads either.

``load_settings`` is the way in. The sources are the environment and a TOML file. Each answers with
values by dotted name, and adds one line to ``problems`` for everything in it that means nothing.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from consumer.errors import SettingsError
from consumer.settings.model import SecuritySettings, Settings
from consumer.settings.own_kinds import load_own_kinds
from consumer.settings.values import Allowed, LogFormat, MayComeFromFile, shown

ENVIRONMENT_PREFIX = "CONSUMER_"
GROUP_DELIMITER = "__"
CONFIG_VARIABLE = "CONSUMER_CONFIG"
FILE_SUFFIX = "_FILE"

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting, as the documentation shows it.

    ``secret`` marks what is never shown. Secrets may come from a file, and what ``in_file`` marks.
    """

    name: str
    env: str
    default: str
    allowed: str
    meaning: str
    secret: bool
    in_file: bool


def environment_name(name: str) -> str:
    """``kafka.group_id`` as ``CONSUMER_KAFKA__GROUP_ID``."""
    return ENVIRONMENT_PREFIX + name.upper().replace(".", GROUP_DELIMITER)


def _walk(model: type[BaseModel], prefix: str) -> Iterator[SettingRow]:
    for field_name, field in model.model_fields.items():
        name = prefix + field_name
        if field.exclude:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, name + ".")
        else:
            yield _row(name, field)


def _row(name: str, field: FieldInfo) -> SettingRow:
    parts = list(_parts(field.annotation))
    return SettingRow(
        name=name,
        env=environment_name(name),
        default=shown(field.default),
        allowed=_allowed([*field.metadata, *parts]),
        meaning=" ".join((field.description or "").split()),
        secret=SecretStr in parts,
        in_file=SecretStr in parts
        or any(isinstance(part, MayComeFromFile) for part in field.metadata),
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


CATALOGUE: Mapping[str, SettingRow] = MappingProxyType(
    {row.name: row for row in _walk(Settings, "")}
)
"""All settings by name, in the order of the model."""


# --- the environment and the file ----------------------------------------------------

# Kubernetes puts these into every container of a namespace in which a Service is called
# "consumer", or "consumer-" and anything.
_SERVICE_LINK = re.compile(
    r"CONSUMER_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
_LINKED_PORT = re.compile(r"CONSUMER_(\w+_)?PORT")
_LINKED_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")

# A name that may be repeated: a secret that was put in its place would hardly look like this.
_PLAIN_NAME = re.compile(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+")


def environment() -> Mapping[str, str]:
    """The process's variables that are meant for this service."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT_PREFIX) and not _service_link(name, value)
    }


def _service_link(name: str, value: str) -> bool:
    """Whether Kubernetes made the variable; a port that somebody has set is a number."""
    if _SERVICE_LINK.fullmatch(name) is not None:
        return True
    return _LINKED_PORT.fullmatch(name) is not None and bool(_LINKED_ADDRESS.fullmatch(value))


def exposed_files() -> list[str]:
    """Return the variables that name a secret's file which everybody on the machine may read."""
    named = {row.env + FILE_SUFFIX for row in CATALOGUE.values() if row.secret}
    named.add(environment_name("kafka.security.key_file"))
    return [
        variable
        for variable, path in environment().items()
        if variable in named and _readable_by_all(path)
    ]


def _readable_by_all(path: str) -> bool:
    try:
        return bool(Path(path).stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False


def from_environment(variables: Mapping[str, str], problems: list[str]) -> dict[str, object]:
    """Read ``CONSUMER_GROUP__NAME`` variables, and ``…_FILE`` ones of what may be in a file."""
    by_variable = {row.env: row for row in CATALOGUE.values()}
    by_file_variable = _by_file_variable()
    known = [*by_variable, *by_file_variable, CONFIG_VARIABLE]
    values: dict[str, object] = {}
    for variable in sorted(variables):
        if variable in by_variable:
            row, text = by_variable[variable], variables[variable]
            values[row.name] = text.removeprefix(BYTE_ORDER_MARK) if row.secret else text.strip()
        elif variable in by_file_variable:
            name = by_file_variable[variable]
            if name in values:
                problems.append(f"{name}: set either {variable[: -len(FILE_SUFFIX)]} or {variable}")
            elif (secret := _secret(variable, variables[variable], problems)) is not None:
                values[name] = secret
        elif variable != CONFIG_VARIABLE:
            problems.append(unknown(variable, known))
    return values


def _files_named(variables: Mapping[str, str]) -> set[str]:
    return {name for variable, name in _by_file_variable().items() if variable in variables}


def _by_file_variable() -> dict[str, str]:
    return {row.env + FILE_SUFFIX: row.name for row in CATALOGUE.values() if row.in_file}


def _text_of(path: str) -> str:
    """Read a setting's file; what editors leave at its beginning and end is no part of it."""
    return Path(path).read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")


def _secret(variable: str, path: str, problems: list[str]) -> str | None:
    # Without the value: it may be the secret itself, put where its file belongs.
    try:
        text = _text_of(path)
    except (OSError, ValueError) as error:
        problems.append(f"{variable}: the file that it names cannot be read: {_reason(error)}")
        return None
    if not text.strip():
        problems.append(f"{variable}: the file that it names is empty")
        return None
    return text


_SECURITY = "kafka.security."


def _security_files(
    variables: Mapping[str, str], overrides: Mapping[str, object]
) -> dict[str, object]:
    """Return which settings of the security came from which file."""
    named = [
        (name.removeprefix(_SECURITY), variables[variable])
        for variable, name in _by_file_variable().items()
        if variable in variables and name.startswith(_SECURITY) and overrides.get(name) is None
    ]
    return {f"{_SECURITY}files": tuple(named)} if named else {}


def read_again(security: SecuritySettings) -> SecuritySettings:
    """Return the same settings as their files have them now: what rotates secrets writes those.

    Raises ``OSError`` and ``ValueError`` where one cannot be read, or holds nothing.
    """
    fresh = {}
    for name, path in security.files:
        row = CATALOGUE[_SECURITY + name]
        text = _text_of(path)
        if not text.strip():
            # Between the truncation of a file and its writing, too.
            raise ValueError(f"{row.env}{FILE_SUFFIX}: the file is empty")
        fresh[name] = SecretStr(text) if row.secret else text.strip()
    return security.model_copy(update=fresh) if fresh else security


def from_toml(path: str, problems: list[str]) -> dict[str, object]:
    """Read the TOML file named by ``CONSUMER_CONFIG``: tables are groups."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        # Its text says where, and quotes at most one character.
        problems.append(f"{CONFIG_VARIABLE}: {path!r} is not TOML: {error}")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{CONFIG_VARIABLE}: {path!r} cannot be read: {_reason(error)}")
        return {}
    return _known(_leaves(tables, ""), problems)


def _leaves(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and name not in CATALOGUE:
            yield from _leaves(value, name + ".")
        else:
            yield name, value


def _known(values: Iterable[tuple[str, object]], problems: list[str]) -> dict[str, object]:
    known = {}
    for name, value in values:
        if name in CATALOGUE:
            known[name] = value
        else:
            problems.append(unknown(name, CATALOGUE))
    return known


def unknown(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Say that ``name`` is no setting, and which one was probably meant.

    It is repeated only where it looks like a name: it may be a secret that lost its place.
    """
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    plain = name.startswith(ENVIRONMENT_PREFIX) or _PLAIN_NAME.fullmatch(name) is not None
    said = name if plain else "a name (not shown)"
    return f"{said}: there is no such setting{hint}"


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not UTF-8"


# --- all of it together --------------------------------------------------------------

_LONGEST_QUOTE = 80
_CREDENTIALS = re.compile(r"(?<=://)\S*@")


def load_settings(
    overrides: Mapping[str, object] | None = None, variables: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings: ``overrides`` win over the environment, which wins over the TOML file.

    Then the kinds of message that installed packages add are known, too.

    ``overrides`` holds a command's options by dotted name (``kafka.group_id``); one that is
    None was not given. ``variables``: these instead of the process's own.
    Raises ``SettingsError`` with one line for each problem.
    """
    problems: list[str] = []
    variables = environment() if variables is None else variables
    overrides = overrides or {}
    values = _values(overrides, variables, problems)
    files = _security_files(variables, overrides)
    try:
        settings = Settings.model_validate(_nested(values | files))
    except ValidationError as error:
        lines = (line for details in error.errors() for line in _lines(details, values))
        # Why it could not be read has been said.
        unread = tuple(f"{name} is missing" for name in _files_named(variables) - values.keys())
        problems.extend(line for line in lines if not line.startswith(unread))
    if problems:
        # Raised here and not in the handler: the validator's own error would quote values.
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    load_own_kinds(settings.mongo)
    return settings


def parse_assignments(assignments: Iterable[str]) -> dict[str, object]:
    """Return what ``NAME=VALUE`` texts set, by name. Raises ``SettingsError``."""
    found: dict[str, object] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            # Without the text: it may hold a secret.
            raise SettingsError("--set: one of them is not NAME=VALUE")
        found[name.strip()] = value
    return found


def shell_value(name: str, value: str) -> str | None:
    """Return what a shell reads ``value``, a secret setting's, from where it was read here.

    Quoted: the variable, or its file. None where neither holds it.
    """
    variable, variables = environment_name(name), environment()
    if variables.get(variable) == value:
        return f'"${variable}"'
    path = variables.get(variable + FILE_SUFFIX)
    if path is None or _secret(variable, path, []) != value:
        return None
    return f'"$(cat {shlex.quote(path)})"'


def log_format(overrides: Mapping[str, object]) -> LogFormat:
    """Return the format of the log, also where other settings are wrong and nothing can start."""
    try:
        return LogFormat(str(_values(overrides, environment(), []).get("log.format")).lower())
    except ValueError:
        return LogFormat.AUTO


def colors_allowed() -> bool:
    """Tell whether whoever runs this has not asked every program for no colors (no-color.org)."""
    return not os.environ.get("NO_COLOR")


def _values(
    overrides: Mapping[str, object], variables: Mapping[str, str], problems: list[str]
) -> dict[str, object]:
    path = variables.get(CONFIG_VARIABLE)
    given = _known(overrides.items(), problems)
    return {
        **(from_toml(path, problems) if path else {}),
        **from_environment(variables, problems),
        **{name: value for name, value in given.items() if value is not None},
    }


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *groups, leaf = name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return tree


def _lines(details: ErrorDetails, values: Mapping[str, object]) -> Iterator[str]:
    # The place inside a list, which may follow, is of no use to the reader.
    path = [str(part) for part in details["loc"]]
    names = (".".join(path[:length]) for length in range(1, len(path) + 1))
    row = next((CATALOGUE[name] for name in names if name in CATALOGUE), None)
    if row is None:  # a rule across fields; its lines name the fields themselves
        yield from details["ctx"]["error"].args[0].split("\n")
        return
    said = "the value (not shown)" if row.secret else _quoted(values.get(row.name))
    why = f" ({details['ctx']['error']})" if details["type"] == "value_error" else ""
    yield f"{row.name}: {said} is not allowed{why}; allowed: {row.allowed}"


def _quoted(value: object) -> str:
    """Repeat a refused value, without what looks like credentials in an address."""
    text = _CREDENTIALS.sub("***@", repr(value))
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
