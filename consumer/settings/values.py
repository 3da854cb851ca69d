"""The kinds of value a setting can have, each with the words that say what is allowed."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError


class OnGap(StrEnum):
    """What to do when unread records were deleted by the broker's retention."""

    CONTINUE = "continue"
    STOP = "stop"


class Driver(StrEnum):
    """Which asyncio driver talks to MongoDB."""

    PYMONGO = "pymongo"
    MOTOR = "motor"


class LogFormat(StrEnum):
    """``auto``: readable lines on a terminal, JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class SecurityProtocol(StrEnum):
    """Kafka's own names."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def encrypted(self) -> bool:
        """Whether the connection runs over TLS."""
        return self in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}

    @property
    def authenticated(self) -> bool:
        """Whether the client says who it is: by user name and password, or by a token."""
        return self in {SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL}


class SaslMechanism(StrEnum):
    """Kafka's own names."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Says in words which values a setting takes; part of its type, shown in every refusal."""

    words: str


@dataclass(frozen=True, slots=True)
class MayComeFromFile:
    """A setting that is no secret and may come from a file none the less, as secrets may."""


def _none_when_empty(value: object) -> object:
    """Read an empty text as "not set": compose files pass unset variables on like that."""
    return None if isinstance(value, str) and not value.strip() else value


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def shown(value: Any) -> str:  # noqa: ANN401 -- it has any of the settings' types
    """Return a value as it may be set; nothing for none."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(value)
        case SecretStr():
            return value.get_secret_value()
        case _:
            return str(value)


def _split(value: object) -> object:
    """Turn a JSON list or text separated by commas into the list it stands for."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    # An IPv6 address begins like a list, too, and its port stands behind the bracket.
    if text.startswith("[") and text.endswith("]"):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise ValueError("it begins like a JSON list and is none") from None
    return [item for item in (part.strip() for part in text.split(",")) if item]


def _without_repetition(values: tuple[str, ...]) -> tuple[str, ...]:
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        raise ValueError(f"{repeated[0]!r} stands twice")
    return values


def _refused() -> PydanticCustomError:
    """Refuse a value for which the setting's ``Allowed`` says enough."""
    return PydanticCustomError("refused", "not allowed")


def _matching(pattern: str) -> AfterValidator:
    """Accept text that, without white space around it, matches ``pattern`` as a whole."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value.strip()) is None:
            raise _refused()
        return value.strip()

    return AfterValidator(check)


def _mongodb_scheme(uri: SecretStr) -> SecretStr:
    """Refuse what is no MongoDB URI without quoting it, since it may hold a password."""
    text = uri.get_secret_value().strip()
    if not re.match(r"mongodb(\+srv)?://[^/\s]", text):
        raise _refused()
    return SecretStr(text)


def _no_truth_value(value: object) -> object:
    """Refuse true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise _refused()
    return value


def _reachable(server: str) -> str:
    """Refuse a port that nothing can listen on."""
    if not 1 <= int(server.rpartition(":")[2]) <= LARGEST_PORT:
        raise _refused()
    return server


LARGEST_PORT = 65535

Number = BeforeValidator(_no_truth_value)
MayBeInFile = MayComeFromFile()
Optionally = BeforeValidator(_none_when_empty)
UpperCase = BeforeValidator(_upper)

Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    Allowed("text that is not empty"),
]
Seconds = Annotated[float, Number, Field(gt=0, allow_inf_nan=False), Allowed("seconds, above 0")]
Bytes = Annotated[int, Number, Field(gt=0), Allowed("a whole number of bytes, above 0")]
Count = Annotated[int, Number, Field(ge=1), Allowed("a whole number, 1 or more")]
Share = Annotated[
    float, Number, Field(gt=0, le=1, allow_inf_nan=False), Allowed("a number above 0, at most 1")
]
Days = Annotated[
    float,
    Number,
    Field(gt=1, allow_inf_nan=False),
    Allowed("a number of days above 1; empty for none"),
]
Port = Annotated[
    int,
    Number,
    Field(ge=0, le=LARGEST_PORT),
    Allowed("a port, 0 to 65535 (0: any free one); empty for none"),
]
TopicName = Annotated[
    str,
    _matching(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}"),
    Allowed("a topic name: 1 to 249 of the characters A-Z a-z 0-9 . _ -"),
]
InstanceId = Annotated[
    str,
    _matching(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}"),
    Allowed("1 to 249 of the characters A-Z a-z 0-9 . _ -; empty for none"),
]
TopicNames = Annotated[
    tuple[TopicName, ...],
    BeforeValidator(_split),
    Field(min_length=1),
    AfterValidator(_without_repetition),
    Allowed("topic names, separated by commas or as a JSON list, each once"),
]
Server = Annotated[
    str,
    _matching(r"(\[[0-9a-fA-F:.]+(%\w+)?\]|[^\s:,;/@'\"\[\]]+):[0-9]{1,5}"),
    AfterValidator(_reachable),
]
Servers = Annotated[
    tuple[Server, ...],
    BeforeValidator(_split),
    Field(min_length=1),
    Allowed("host:port, port 1 to 65535, several separated by commas or as a JSON list"),
]
DatabaseName = Annotated[
    str,
    _matching(r'[^/\\. "$*<>:|?\x00]{1,63}'),
    Allowed('a database name: at most 63 characters, none of / \\ . " $ * < > : | ? or a space'),
]
CollectionName = Annotated[
    str,
    _matching(r"(?!system\.)[^$\x00.][^$\x00]{0,119}"),
    Allowed('a collection name: at most 120 characters, without $ and without "system." in front'),
]
TokenUrl = Annotated[
    str,
    # A client secret crosses no network unprotected; a sidecar has none between.
    _matching(r"(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])[^\s@]+"),
    Allowed("an https:// URL without user and password; http:// for localhost alone"),
]
FunctionName = Annotated[
    str,
    _matching(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"),
    Allowed("package.module:function"),
]
MongoUri = Annotated[
    SecretStr,
    AfterValidator(_mongodb_scheme),
    Allowed("a URI that begins with mongodb:// or mongodb+srv://"),
]
