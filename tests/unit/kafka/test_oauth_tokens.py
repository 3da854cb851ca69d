"""Where tokens come from, how long they are kept, and what is said where there is none."""

from __future__ import annotations

import base64
import ssl
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiokafka.abc import AbstractTokenProvider
from pydantic import SecretStr

from consumer.errors import SettingsError
from consumer.kafka import credentials
from consumer.kafka.credentials import CredentialsError, TokenRefusedError, token_provider
from consumer.settings.model import SecuritySettings
from tests.e2e.processes import free_port
from tests.fakes.certificates import localhost_certificate
from tests.fakes.token_endpoint import TokenEndpoint, token_endpoint

SECRET = "s3cr+t/=: ü"


class Clock:
    """What the tokens take for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        monkeypatch.setattr(credentials, "monotonic", lambda: self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with token_endpoint() as endpoint:
        yield endpoint


def asking(url: str, **others: Any) -> SecuritySettings:
    client = {"token_client_id": "con:sumer", "token_client_secret": SecretStr(SECRET)}
    return SecuritySettings(token_url=url, **{**client, **others})


async def refused(security: SecuritySettings) -> CredentialsError:
    with pytest.raises(CredentialsError) as caught:
        await token_provider(security).token()
    (line,) = str(caught.value.args[0]).splitlines()
    assert SECRET not in line
    return caught.value


async def test_the_endpoint_is_asked_by_client_credentials_as_rfc_6749_says(
    endpoint: TokenEndpoint,
) -> None:
    await token_provider(asking(endpoint.url, token_scope="kafka read")).token()
    (asked,) = endpoint.requests
    assert parse_qs(asked.body) == {"grant_type": ["client_credentials"], "scope": ["kafka read"]}
    scheme, _, credentials = asked.authorization.partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(credentials) == b"con%3Asumer:s3cr%2Bt%2F%3D%3A+%C3%BC"


@pytest.mark.reliability("A27")
@pytest.mark.parametrize(("life", "kept"), [(3600, 3570), (10, 8)])
async def test_a_token_is_kept_until_shortly_before_it_expires(
    endpoint: TokenEndpoint, clock: Clock, life: float, kept: float
) -> None:
    endpoint.life = life
    tokens = token_provider(asking(endpoint.url))
    first = await tokens.token()
    clock.seconds += kept - 0.5
    assert await tokens.token() == first
    clock.seconds += 1
    assert await tokens.token() != first
    assert len(endpoint.requests) == 2


async def test_a_token_of_which_the_end_is_not_told_is_kept_for_nobody(
    endpoint: TokenEndpoint, clock: Clock
) -> None:
    endpoint.says = (200, b'{"access_token": "abc"}', {})
    tokens = token_provider(asking(endpoint.url))
    assert [await tokens.token(), await tokens.token()] == ["abc", "abc"]
    assert len(endpoint.requests) == 2
    assert clock.seconds == 1000.0


async def test_a_token_that_a_broker_refused_is_not_offered_again(endpoint: TokenEndpoint) -> None:
    tokens = token_provider(asking(endpoint.url))
    first = await tokens.token()
    tokens.forget()
    assert await tokens.token() != first


async def test_a_client_secret_that_is_changed_in_its_file_is_used(
    endpoint: TokenEndpoint, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("old\n")
    tokens = token_provider(asking(endpoint.url, files=(("token_client_secret", str(file)),)))
    await tokens.token()
    file.write_text("new\n")
    clock.seconds += 4000
    await tokens.token()
    sent = [base64.b64decode(asked.authorization.split()[1]) for asked in endpoint.requests]
    assert sent == [b"con%3Asumer:old", b"con%3Asumer:new"]


async def test_a_client_secret_whose_file_is_empty_just_then_is_said_and_read_again(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("")
    tokens = token_provider(asking(endpoint.url, files=(("token_client_secret", str(file)),)))
    with pytest.raises(CredentialsError, match=r"TOKEN_CLIENT_SECRET_FILE: the file is empty"):
        await tokens.token()
    file.write_bytes(b"\xff")
    with pytest.raises(CredentialsError, match=r"is not UTF-8"):
        await tokens.token()
    file.unlink()
    with pytest.raises(CredentialsError, match=r"secret cannot be read \(No such file"):
        await tokens.token()
    assert not endpoint.requests
    file.write_text("there")
    assert await tokens.token()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b'{"error": "invalid_scope"}', "400 invalid_scope"),
        (401, b'{"error": "invalid_client", "error_description": "s3cr+t"}', "401 invalid_client"),
        (403, b"<html>", "403"),
        (404, b'{"error": "<b>"}', "404"),
    ],
)
async def test_a_refusal_says_what_to_change(
    endpoint: TokenEndpoint, status: int, body: bytes, said: str
) -> None:
    endpoint.says = (status, body, {})
    error = await refused(asking(endpoint.url))
    assert isinstance(error, TokenRefusedError)
    assert error.args[0] == (
        f"no token from {endpoint.url}: it answers {said}; fix: kafka.security.token_url, "
        "token_client_id, token_client_secret and token_scope must be right"
    )


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"", "it answers 500"),
        (503, b'{"error": "temporarily_unavailable"}', "it answers 503 temporarily_unavailable"),
        (429, b"", "it answers 429"),
        (200, b"<html>", "its answer is no JSON"),
        (200, b"[1]", "its answer holds none"),
        (200, b'{"access_token": 5}', "its answer holds none"),
        (200, b'{"access_token": "a\\u0001b"}', "its answer holds none"),
    ],
)
async def test_an_endpoint_that_is_not_well_is_trouble_that_passes(
    endpoint: TokenEndpoint, status: int, body: bytes, said: str
) -> None:
    endpoint.says = (status, body, {})
    error = await refused(asking(endpoint.url))
    assert not isinstance(error, TokenRefusedError)
    assert error.args[0] == f"no token from {endpoint.url}: {said}"


async def test_an_endpoint_that_is_not_there_is_trouble_that_passes() -> None:
    url = f"http://localhost:{free_port()}/token"
    error = await refused(asking(url))
    assert not isinstance(error, TokenRefusedError)
    assert error.args[0] == f"no token from {url}: Connection refused"


@pytest.mark.reliability("F94")
async def test_a_redirect_does_not_carry_the_secret_elsewhere(endpoint: TokenEndpoint) -> None:
    with token_endpoint() as other:
        endpoint.says = (302, b"", {"Location": other.url})
        assert isinstance(await refused(asking(endpoint.url)), TokenRefusedError)
        assert not other.requests


# --- TLS -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost that signs itself, and its key, in one file."""
    return localhost_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def over_tls(certificate: Path) -> Iterator[TokenEndpoint]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with token_endpoint(context) as endpoint:
        yield endpoint


async def test_an_endpoint_over_tls_is_trusted_by_its_authority(
    over_tls: TokenEndpoint, certificate: Path
) -> None:
    assert await token_provider(asking(over_tls.url, token_ca_file=str(certificate))).token()


async def test_a_certificate_that_is_not_trusted_is_told_as_that(over_tls: TokenEndpoint) -> None:
    error = await refused(asking(over_tls.url))
    assert isinstance(error, TokenRefusedError)
    assert "its certificate is not trusted (" in error.args[0]
    assert "fix: kafka.security.token_ca_file" in error.args[0]
    assert not over_tls.requests


@pytest.mark.parametrize("name", ["missing.pem", "garbage.pem"])
def test_an_authority_that_is_none_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    (tmp_path / "garbage.pem").write_text("garbage")
    file = str(tmp_path / name)
    with pytest.raises(SettingsError, match=r"kafka\.security\.token_ca_file: .* cannot be used"):
        token_provider(asking("https://localhost/", token_ca_file=file))


# --- a function of the user's ------------------------------------------------------------


class SignedTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """As a library for a cloud's own tokens has one."""

    async def token(self) -> str:
        return "signed"

    def extensions(self) -> dict[str, str]:
        return {"region": "here"}


async def _asynchronous() -> str:
    return "asynchronous"


def _failing() -> str:
    raise RuntimeError(SECRET)


def _streams() -> Iterator[str]:
    yield "a token"


def _ending() -> str:
    sys.exit(0)


async def _asynchronously_ending() -> str:
    sys.exit(0)


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModuleType("our_tokens")
    made.__dict__.update(
        plain=lambda: "plain",
        asynchronous=_asynchronous,
        hidden=lambda: _asynchronous(),  # noqa: PLW0108 -- it does not show that it is asynchronous
        partial=partial(_asynchronous),
        Signed=SignedTokens,
        failing=_failing,
        ending=_ending,
        asynchronously_ending=_asynchronously_ending,
        nothing=lambda: None,
        number=5,
        asked=lambda scope: scope,
        streams=_streams,
    )
    monkeypatch.setitem(sys.modules, "our_tokens", made)


def provided(name: str) -> SecuritySettings:
    return SecuritySettings(token_provider=f"our_tokens:{name}")


@pytest.mark.parametrize(
    ("name", "token", "extensions"),
    [
        ("plain", "plain", {}),
        ("asynchronous", "asynchronous", {}),
        ("hidden", "asynchronous", {}),
        ("partial", "asynchronous", {}),
        ("Signed", "signed", {"region": "here"}),
    ],
)
async def test_a_function_or_a_provider_of_the_clients_own_kind_gives_the_token(
    name: str, token: str, extensions: dict[str, str]
) -> None:
    tokens = token_provider(provided(name))
    assert await tokens.token() == token
    assert tokens.extensions() == extensions


@pytest.mark.reliability("F148")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("failing", "RuntimeError"),
        ("ending", "SystemExit"),
        ("asynchronously_ending", "SystemExit"),
        ("nothing", "it returns NoneType"),
    ],
)
async def test_a_function_without_a_token_is_trouble_that_passes(name: str, why: str) -> None:
    error = await refused(provided(name))
    assert error.args[0] == f"no token from our_tokens:{name}: {why}"


@pytest.mark.parametrize(
    "name",
    [
        "our_tokens:missing",
        "no_such_module:function",
        "our_tokens:number",
        "our_tokens:asked",
        "our_tokens:streams",
        "tests.own_kinds.program:token",
    ],
)
def test_a_function_that_is_not_there_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(
        SettingsError, match=r"kafka\.security.token_provider: .*package.module:fun"
    ):
        token_provider(SecuritySettings(token_provider=name))
