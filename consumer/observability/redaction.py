"""What must never reach a log: credentials and what people said. Pure."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from consumer.errors import ConsumerError
from consumer.settings import Settings

HIDDEN = "***"
LONGEST_TEXT = 300
"""Characters of one logged text; ids have at most 256, anything longer is somebody's payload."""

_SHORTEST_SECRET = 4
"""A shorter one would blacken half of every line, and tells nobody more than its length."""

_SECRET_NAME = re.compile(
    r"password|passwd|(^|_)pass$|secret|token|credential|(^|_)uri$", re.IGNORECASE
)
_SECRET_OPTION = re.compile(r"password|token|mechanismproperties", re.IGNORECASE)
# Up to the last @ of the word: a password may hold one that nobody has escaped.
_CREDENTIALS_IN_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)\S*@", re.IGNORECASE)


def known_secrets(settings: Settings) -> tuple[str, ...]:
    """The texts that these settings say must stay unknown, each as given and as decoded."""
    uri = settings.mongo.uri.get_secret_value()
    in_uri = [*_password_of(uri), *_secrets_in_query(uri)]
    texts = [*in_uri, *map(unquote, in_uri), uri if any(in_uri) else ""]
    security = settings.kafka.security
    texts += [
        secret.get_secret_value()
        for secret in (security.password, security.key_password)
        if secret is not None
    ]
    return tuple(
        sorted({text for text in texts if len(text) >= _SHORTEST_SECRET}, key=len, reverse=True)
    )


def _password_of(uri: str) -> list[str]:
    try:
        return [urlsplit(uri).password or ""]
    except ValueError:
        return []


def _secrets_in_query(uri: str) -> list[str]:
    """The values of options such as a certificate's password or a session's token."""
    found = []
    for option in re.split("[&;]", uri.partition("?")[2]):
        name, _, value = option.partition("=")
        if _SECRET_OPTION.search(name):
            # Properties are name:value pairs, each value of which may be one.
            found += [value, *(pair.partition(":")[2] for pair in value.split(","))]
    return found


class Redactor:
    """Cleans texts, and values of any depth."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """``secrets`` are blackened wherever they stand."""
        longest_first = sorted(secrets, key=len, reverse=True)
        self._secrets = (
            re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        )

    def text(self, text: str) -> str:
        """Return ``text`` without credentials, at its natural length."""
        if self._secrets is not None:
            text = self._secrets.sub(HIDDEN, text)
        if "://" in text:
            text = _CREDENTIALS_IN_URI.sub(rf"\g<scheme>{HIDDEN}@", text)
        return text

    def short(self, text: str) -> str:
        """Return ``text`` without credentials, and cut where it is too long for a log."""
        cleaned = self.text(text)
        if len(cleaned) <= LONGEST_TEXT:
            return cleaned
        return f"{cleaned[:LONGEST_TEXT]}… ({len(cleaned)} characters)"

    def value(self, value: object, name: str = "") -> object:
        """Return a value as it may be logged under ``name``."""
        match value:
            case bool() | int() | float() | None:
                return value
            case _ if name and _SECRET_NAME.search(name):
                return HIDDEN
            case str() | Path() | datetime():
                return self.short(str(value))
            case Mapping():
                return {
                    self.short(str(key)): self.value(inner, str(key))
                    for key, inner in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [self.value(inner) for inner in value]
            case _:
                # Bytes and foreign objects may hold payload, and their repr would show it.
                return f"<{type(value).__name__}>"


WITHHELD = "(message withheld: it may quote data)"
MOST_FRAMES = 30
MOST_LINKS = 5


def describe_failure(error: BaseException) -> str:
    """The chain of exceptions that led to ``error``, the first cause first, with their frames."""
    return "\n".join("\n".join(_describe(link)) for link in reversed(list(_chain(error))))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(MOST_LINKS):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _describe(error: BaseException) -> Iterator[str]:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{kind}: {str(error) if _quotes_no_data(error) else WITHHELD}"
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    for frame in frames:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"


def _quotes_no_data(error: BaseException) -> bool:
    """Our own errors quote none by contract, the system's and the Kafka client's by nature.

    A driver of the database quotes the keys of documents, and a ValueError of anyone its value.
    """
    ours = isinstance(error, ConsumerError)
    of_the_system = isinstance(error, OSError)
    of_the_kafka_client = type(error).__module__.partition(".")[0] == "aiokafka"
    return ours or of_the_system or of_the_kafka_client
