"""Where settings come from: the environment and a TOML file. Nothing else reads either.

Each source answers with values by dotted name, and adds one line to ``problems``
for everything in it that means nothing.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from consumer.settings.catalogue import CATALOGUE, ENVIRONMENT_PREFIX

CONFIG_VARIABLE = "CONSUMER_CONFIG"
FILE_SUFFIX = "_FILE"

# Kubernetes puts these into every container once a Service is called "consumer".
_SERVICE_LINK = re.compile(
    r"CONSUMER_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)"
)


def environment() -> Mapping[str, str]:
    """The process's variables that are meant for this service."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT_PREFIX) and _SERVICE_LINK.fullmatch(name) is None
    }


def from_environment(variables: Mapping[str, str], problems: list[str]) -> dict[str, object]:
    """Read ``CONSUMER_GROUP__NAME`` variables, and ``…_FILE`` ones for secrets."""
    by_variable = {row.env: row for row in CATALOGUE.values()}
    by_file_variable = {row.env + FILE_SUFFIX: row.name for row in CATALOGUE.values() if row.secret}
    known = [*by_variable, *by_file_variable, CONFIG_VARIABLE]
    values: dict[str, object] = {}
    for variable in sorted(variables):
        if variable in by_variable:
            row, text = by_variable[variable], variables[variable]
            values[row.name] = text if row.secret else text.strip()
        elif variable in by_file_variable:
            name = by_file_variable[variable]
            if name in values:
                problems.append(f"{name}: set either {variable[: -len(FILE_SUFFIX)]} or {variable}")
            elif (secret := _secret(variable, variables[variable], problems)) is not None:
                values[name] = secret
        elif variable != CONFIG_VARIABLE:
            problems.append(unknown(variable, known))
    return values


def _secret(variable: str, path: str, problems: list[str]) -> str | None:
    """Read a secret's file; the line break that editors leave at its end is no part of it."""
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        problems.append(f"{variable}: {path!r} cannot be read: {_reason(error)}")
        return None


def from_toml(path: str, problems: list[str]) -> dict[str, object]:
    """Read the TOML file named by ``CONSUMER_CONFIG``: tables are groups."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        # Its text says where, and quotes at most one character.
        problems.append(f"{CONFIG_VARIABLE}: {path!r} is not TOML: {error}")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{CONFIG_VARIABLE}: {path!r} cannot be read: {_reason(error)}")
        return {}
    values: dict[str, object] = {}
    for name, value in _leaves(tables, ""):
        if name in CATALOGUE:
            values[name] = value
        else:
            problems.append(unknown(name, CATALOGUE))
    return values


def _leaves(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and name not in CATALOGUE:
            yield from _leaves(value, name + ".")
        else:
            yield name, value


def unknown(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Say that ``name`` is no setting, and which one was probably meant."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{name}: there is no such setting{hint}"


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not UTF-8"
