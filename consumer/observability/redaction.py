"""What must never reach a log: credentials and what people said, tracebacks included. Pure."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from consumer.errors import ConsumerError
from consumer.settings.model import Settings

HIDDEN = "***"
LONGEST_TEXT = 300
"""Characters of one logged text; ids have at most 256, anything longer is somebody's payload."""

WITHHELD = "(message withheld: it may quote data)"
MOST_FRAMES = 30
MOST_LINKS = 5

_SHORTEST_SECRET = 4
"""A shorter one would stand in half of all lines, and hiding it there would show what it is."""

_SECRET_NAME = re.compile(
    r"password|passwd|(^|_)pass$|secret|token|credential|(^|_)uri$", re.IGNORECASE
)
_SECRET_OPTION = re.compile(r"password|token|mechanismproperties", re.IGNORECASE)
# Up to the last @ of the word: a password may hold one that nobody has escaped.
_CREDENTIALS_IN_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)\S*@", re.IGNORECASE)


def known_secrets(settings: Settings) -> tuple[str, ...]:
    """The texts that these settings say must stay unknown, each as given and as decoded."""
    uri = settings.mongo.uri.get_secret_value()
    in_uri = list(_secrets_in(uri))
    texts = [*in_uri, *map(unquote, in_uri), uri if any(in_uri) else ""]
    security = settings.kafka.security
    texts += [
        secret.get_secret_value()
        for secret in (security.password, security.key_password, security.token_client_secret)
        if secret is not None
    ]
    return tuple({text for text in texts if len(text) >= _SHORTEST_SECRET})


def _secrets_in(uri: str) -> Iterator[str]:
    """The password, and the values of options such as a certificate's password or a token."""
    with suppress(ValueError):
        yield urlsplit(uri).password or ""
    for option in re.split("[&;]", uri.partition("?")[2]):
        name, _, value = option.partition("=")
        if _SECRET_OPTION.search(name):
            # Properties are name:value pairs, each value of which may be one.
            yield from (value, *(pair.partition(":")[2] for pair in value.split(",")))


class Redactor:
    """Cleans texts, and values of any depth."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """``secrets`` are hidden wherever they stand."""
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


def describe_failure(error: BaseException) -> str:
    """Return the exceptions that led to ``error``, the first cause first, with their frames.

    Of their messages only those that quote no data.
    """
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(links) < MOST_LINKS:
        links.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(line for link in reversed(links) for line in _described(link))


def _described(error: BaseException) -> Iterator[str]:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{kind}: {str(error) if _quotes_no_data(error) else WITHHELD}"
    for frame in traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"


def _quotes_no_data(error: BaseException) -> bool:
    """Our own errors quote none by contract, the system's and the Kafka client's by nature.

    A driver of the database quotes the keys of documents, and a ValueError of anyone its value.
    """
    ours_or_the_systems = isinstance(error, ConsumerError | OSError)
    return ours_or_the_systems or type(error).__module__.partition(".")[0] == "aiokafka"
