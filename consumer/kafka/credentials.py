"""What a connection is made with: what its files hold now, and tokens for SASL OAUTHBEARER.

Tokens come from an OAuth 2 token endpoint, or from a function of the user's. All of it is asked
for when a connection is made. What goes wrong is a ``KafkaError``, so that the client takes it for
a connection that failed, and tries again.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from importlib import import_module
from time import monotonic
from typing import Any, NamedTuple
from urllib import error as http_errors
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from consumer.contract.messages import why_unusable
from consumer.errors import USER_CODE_ERRORS, SettingsError
from consumer.settings.model import SecuritySettings
from consumer.settings.sources import read_again

ANSWER_SECONDS = 10.0
"""How long the token endpoint may be silent."""

LARGEST_ANSWER = 1024 * 1024
"""Bytes of an answer that are read."""

EARLY_SECONDS = 30.0
EARLY_SHARE = 0.2
"""A token is fetched anew so long before it expires; by the share where it lives shortly."""

_PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that ask to come again."""

_TOKEN = re.compile(r"[\x21-\x7e]+")
_NUMBER = re.compile(r"\d{1,12}(\.\d+)?")
_ERROR_CODE = re.compile(r"[a-z_]{1,60}")


class CredentialsError(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """A file cannot be used, or there is no token, now; its text says why, and quotes no secret."""


class TokenRefusedError(CredentialsError):
    """There will be no token until somebody changes something."""


def read_now(security: SecuritySettings) -> SecuritySettings:
    """Return the settings with what their files hold now. Raises ``CredentialsError``."""
    try:
        return read_again(security)
    except OSError as error:
        raise CredentialsError(f"{error.filename} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CredentialsError("a file of kafka.security is not UTF-8") from error
    except ValueError as error:
        raise CredentialsError(str(error)) from error


class _Token(NamedTuple):
    text: str
    use_until: float
    """By the monotonic clock."""


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the client's secret to somebody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 -- urllib's own
        return None


class EndpointTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """Tokens by client credentials (RFC 6749, 4.4), kept until shortly before they expire."""

    def __init__(self, security: SecuritySettings) -> None:
        """Ask ``security.token_url``."""
        self._security = security
        self._kept: _Token | None = None
        self._asking = asyncio.Lock()

    def forget(self) -> None:
        """Ask for another token the next time: a broker refused this one."""
        self._kept = None

    async def token(self) -> str:
        """Return a token that is valid for a while. Raises ``CredentialsError``."""
        async with self._asking:
            if self._kept is None or monotonic() >= self._kept.use_until:
                # Whoever gave up on a connection leaves the thread to its own timeout.
                self._kept = await asyncio.to_thread(_fetch, self._security)
            return self._kept.text


def _fetch(security: SecuritySettings) -> _Token:
    asked_at = monotonic()
    security = read_now(security)
    try:
        answer = _post(security)
    except http_errors.HTTPError as error:
        with error:
            raise _refusal(security, error.code, error.read(LARGEST_ANSWER)) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(security, error) from error
    text, life = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(text, str) or _TOKEN.fullmatch(text) is None:
        raise CredentialsError(f"no token from {security.token_url}: its answer holds none")
    # Where it is not said how long a token lives, each connection asks for its own.
    number = isinstance(life, int | float | str) and _NUMBER.fullmatch(str(life))
    seconds = float(str(life)) if number else 0.0
    return _Token(text, asked_at + seconds - min(EARLY_SECONDS, seconds * EARLY_SHARE))


def _post(security: SecuritySettings) -> Mapping[str, object]:
    """Return what the endpoint says; raises what ``urllib`` does, and ``ValueError``."""
    secret = security.token_client_secret
    name, password = security.token_client_id or "", secret.get_secret_value() if secret else ""
    basic = base64.b64encode(f"{quote_plus(name)}:{quote_plus(password)}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    if security.token_scope:
        form["scope"] = security.token_scope
    request = Request(  # noqa: S310 -- the settings take https:// and http:// alone
        str(security.token_url),
        urlencode(form).encode(),
        {"Authorization": f"Basic {basic}", "Accept": "application/json"},
    )
    trusted = ssl.create_default_context(cafile=security.token_ca_file)
    opener = build_opener(HTTPSHandler(context=trusted), _NoRedirects)
    response: HTTPResponse
    with opener.open(request, timeout=ANSWER_SECONDS) as response:
        answer = json.loads(response.read(LARGEST_ANSWER))
    return answer if isinstance(answer, dict) else {}


def _refusal(security: SecuritySettings, status: int, body: bytes) -> CredentialsError:
    said = f"no token from {security.token_url}: it answers {status}{_error_code(body)}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        return CredentialsError(said)
    return TokenRefusedError(
        f"{said}; fix: kafka.security.token_url, token_client_id, token_client_secret and "
        "token_scope must be right"
    )


def _error_code(body: bytes) -> str:
    """Return RFC 6749's word for what is wrong; nothing else of the answer is repeated."""
    try:
        code = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError):
        return ""
    return f" {code}" if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""


def _unreachable(security: SecuritySettings, error: Exception) -> CredentialsError:
    reason = error.reason if isinstance(error, http_errors.URLError) else error
    said = f"no token from {security.token_url}: "
    match reason:
        case ssl.SSLCertVerificationError():
            return TokenRefusedError(
                f"{said}its certificate is not trusted ({reason.verify_message}); fix: "
                "kafka.security.token_ca_file, and a host by the certificate's name"
            )
        case ssl.SSLError():
            return CredentialsError(f"{said}no TLS connection ({reason.reason})")
        case TimeoutError():
            return CredentialsError(f"{said}no answer")
        case OSError(strerror=str(text)):
            return CredentialsError(f"{said}{text}")
        case ValueError():
            return CredentialsError(f"{said}its answer is no JSON")
        case _:
            return CredentialsError(f"{said}{type(reason).__name__}")


# --- a function of the user's ------------------------------------------------------------


class ProvidedTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """Tokens from ``kafka.security.token_provider``, which keeps and renews them itself."""

    def __init__(self, name: str) -> None:
        """Load ``package.module:function``. Raises ``SettingsError`` where that cannot be done."""
        self._name = name
        self._provide, self._extensions = _load(name)

    async def token(self) -> str:
        """Return what the function returns. Raises ``CredentialsError``."""
        try:
            if inspect.iscoroutinefunction(self._provide):
                text: object = await self._provide()
            else:
                text = await asyncio.to_thread(self._provide)
            # A lambda may be asynchronous without showing it.
            if inspect.isawaitable(text):
                text = await text
        except USER_CODE_ERRORS as error:
            # Without its text, which may quote a secret.
            raise CredentialsError(f"no token from {self._name}: {type(error).__name__}") from error
        if not isinstance(text, str) or _TOKEN.fullmatch(text) is None:
            raise CredentialsError(f"no token from {self._name}: it returns {type(text).__name__}")
        return text

    def extensions(self) -> Mapping[str, str]:
        """Return what is sent beside the token; a function has none."""
        return self._extensions()


def _load(
    name: str,
) -> tuple[Callable[[], str | Awaitable[str]], Callable[[], Mapping[str, str]]]:
    module, _, function = name.partition(":")

    def refused(why: str) -> SettingsError:
        words = f"{name!r} {why}; allowed: package.module:function"
        return SettingsError(f"kafka.security.token_provider: {words}")

    try:
        found = getattr(import_module(module), function)
        if isinstance(found, type) and issubclass(found, AbstractTokenProvider):
            provider = found()
            return provider.token, provider.extensions
    except USER_CODE_ERRORS as error:
        raise refused(f"cannot be used ({type(error).__name__}: {error})") from error
    if why := why_unusable(found, awaited=True):
        raise refused(why)
    return found, dict


def token_provider(security: SecuritySettings) -> AbstractTokenProvider:
    """Return what the settings say tokens come from. Raises ``SettingsError``."""
    if security.token_provider:
        return ProvidedTokens(security.token_provider)
    try:
        ssl.create_default_context(cafile=security.token_ca_file)
    except OSError as error:
        raise SettingsError(
            f"kafka.security.token_ca_file: {security.token_ca_file!r} cannot be used "
            f"({type(error).__name__}); allowed: a PEM file of certificates"
        ) from error
    return EndpointTokens(security)
