"""Put the sources together, and say in one line each what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from consumer.errors import SettingsError
from consumer.settings.catalogue import CATALOGUE
from consumer.settings.root import Settings
from consumer.settings.sources import (
    CONFIG_VARIABLE,
    environment,
    from_environment,
    from_toml,
    unknown,
)

_LONGEST_QUOTE = 80
_CREDENTIALS = re.compile(r"(?<=://)\S*@")


def load_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the settings: ``overrides`` win over the environment, which wins over the TOML file.

    ``overrides`` holds a command's options by dotted name (``kafka.group_id``); one that is
    None was not given. Raises ``SettingsError`` with one line for each problem.
    """
    problems: list[str] = []
    variables = environment()
    path = variables.get(CONFIG_VARIABLE)
    values = {
        **(from_toml(path, problems) if path else {}),
        **from_environment(variables, problems),
        **_given(overrides or {}, problems),
    }
    try:
        settings = Settings.model_validate(_nested(values))
    except ValidationError as error:
        problems.extend(line for details in error.errors() for line in _lines(details, values))
    if problems:
        # Raised here and not in the handler: the validator's own error would quote values.
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    return settings


def _given(overrides: Mapping[str, object], problems: list[str]) -> dict[str, object]:
    problems.extend(unknown(name, CATALOGUE) for name in overrides if name not in CATALOGUE)
    return {
        name: value for name, value in overrides.items() if value is not None and name in CATALOGUE
    }


def _nested(values: Mapping[str, object]) -> dict[str, dict[str, object]]:
    tree: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        *groups, leaf = name.split(".")
        node: dict[str, object] = tree.setdefault(groups[0], {})
        for group in groups[1:]:
            inner = node.setdefault(group, {})
            if not isinstance(inner, dict):  # no setting has the name of a group
                raise TypeError(name)
            node = inner
        node[leaf] = value
    return tree


def _lines(details: ErrorDetails, values: Mapping[str, object]) -> Iterator[str]:
    name = _name(details["loc"])
    if not name:  # a rule across fields; its lines name the fields themselves
        yield from details["ctx"]["error"].args[0].split("\n")
        return
    row = CATALOGUE[name]
    said = "the value (not shown)" if row.secret else _quoted(values.get(name))
    why = f" ({details['ctx']['error']})" if details["type"] == "value_error" else ""
    yield f"{name}: {said} is not allowed{why}; allowed: {row.allowed}"


def _name(location: tuple[int | str, ...]) -> str:
    """The setting an error is about; the place inside a list is of no use to its reader."""
    name = ""
    for part in location:
        name = f"{name}.{part}" if name else str(part)
        if name in CATALOGUE:
            return name
    return ""


def _quoted(value: object) -> str:
    """Repeat a refused value, without what looks like credentials in an address."""
    text = _CREDENTIALS.sub("***@", repr(value))
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
