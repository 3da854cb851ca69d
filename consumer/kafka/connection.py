"""How every Kafka client of ours connects, and what it means when one fails."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import aiokafka.admin.client
import aiokafka.client
import aiokafka.conn
import aiokafka.producer.message_accumulator
from aiokafka import errors
from aiokafka.protocol.metadata import MetadataRequest
from pydantic import SecretStr

from consumer.aio import first_bytes
from consumer.errors import (
    ConsumerError,
    PreconditionError,
    SettingsError,
    TransientError,
    drop_tracebacks,
)
from consumer.kafka.credentials import (
    CredentialsError,
    EndpointTokens,
    TokenRefusedError,
    read_now,
    token_provider,
)
from consumer.settings.model import KafkaSettings, SecuritySettings
from consumer.settings.values import SaslMechanism, SecurityProtocol

# Where a command keeps no log, what the client says there is told by our own errors, once.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

# aiokafka 0.14 lets brokers create every topic that it asks for: even the check for a topic would
# create it, with the cluster's number of partitions. There is no option, so this is for every
# client of the process, whoever makes it.
aiokafka.client.MetadataRequest = aiokafka.admin.client.MetadataRequest = partial(
    MetadataRequest, allow_auto_topic_creation=False
)


_RENEWED = ("ssl_context", "sasl_plain_username", "sasl_plain_password")

_FAILED: dict[tuple[str, int], BaseException] = {}
"""Why the last attempt to connect to an address failed; absent where it did not."""


def _remembering(connect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def create_conn(host: str, port: int, **options: Any) -> Any:  # noqa: ANN401 -- the client's
        try:
            # Those that are functions are asked what they are at this moment.
            renewed = {name: options[name]() for name in _RENEWED if callable(options.get(name))}
            connection = await connect(host, port, **options | renewed)
        except (OSError, errors.KafkaError, ValueError) as error:
            _FAILED[host, port] = error
            tokens = options.get("sasl_oauth_token_provider")
            if isinstance(error, errors.SaslAuthenticationFailed) and isinstance(
                tokens, EndpointTokens
            ):
                tokens.forget()
            raise
        _FAILED.pop((host, port), None)
        # It stays in a circle when it is closed; the certificates of a bundle take 0.7 MB.
        connection._ssl_context = None  # noqa: SLF001 -- needed to connect alone
        return connection

    return create_conn


class _OAuthAuthenticator(aiokafka.conn.OAuthAuthenticator):  # type: ignore[misc]  # no types
    """aiokafka 0.14 takes a refusal for a success, and the connection ends a moment later.

    A broker refuses a token by an answer that is not empty (RFC 7628, 3.2.2).
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            raise errors.SaslAuthenticationFailed("the broker refuses the token")
        step: tuple[bytes, bool] | None = await super().step(payload)
        return step


aiokafka.conn.OAuthAuthenticator = _OAuthAuthenticator


def _freeing(send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def send_freed(*request: Any, **options: Any) -> Any:  # noqa: ANN401 -- the client's
        try:
            return await send(*request, **options)
        except errors.KafkaError as error:
            drop_tracebacks(error)  # the calls hold the request, and the error in a circle
            raise

    return send_freed


aiokafka.client.AIOKafkaClient.send = _freeing(aiokafka.client.AIOKafkaClient.send)


class _FreedBatch(aiokafka.producer.message_accumulator.MessageBatch):  # type: ignore[misc]  # aiokafka as above
    """Keeps no calls of the error it failed with: they hold the batch, in a circle."""

    def failure(self, exception: BaseException) -> None:
        drop_tracebacks(exception)
        super().failure(exception)


aiokafka.producer.message_accumulator.MessageBatch = _FreedBatch


# Of a start that fails the client tells only that it did; the reason is in its log at best.
aiokafka.client.create_conn = _remembering(aiokafka.client.create_conn)


async def unreachable(kafka: KafkaSettings, error: Exception) -> ConsumerError:
    """Return what to raise where no client could be started: what each broker is in the way of.

    ``PreconditionError`` where none will answer anything else by itself, and where one refuses
    the user: a password that is tried again and again locks its user out.
    """
    reasons, lasting, refused, wanted = [], True, False, kafka.security.protocol
    for server in kafka.bootstrap_servers:
        name, _, port = server.rpartition(":")
        address = name.strip("[]"), int(port)
        failure = _FAILED.get(address)
        reason, lasts = _reason(failure, kafka.security)
        if not lasts and isinstance(failure, _CLOSED):
            spoken = await _listener_protocol(*address)
            if spoken not in {None, wanted}:
                reason = f"its listener is {spoken}, not {wanted}; fix: kafka.security.protocol"
                lasts = True
        reasons.append(f"{server}: {reason}")
        lasting = lasting and lasts
        refused = refused or isinstance(
            failure, (errors.SaslAuthenticationFailed, TokenRefusedError)
        )
    said = "; ".join(reasons)
    final = lasting or refused
    return PreconditionError(said) if final else TransientError(type(error).__name__, said)


_CLOSED = (ssl.SSLError, ConnectionResetError, errors.KafkaConnectionError, type(None))
"""How a connection ends to a listener that is secured in another way, and to one that goes away."""

_HANDSHAKE = struct.pack(">ihhihh", 12, 17, 1, 1, 0, 0)
"""SaslHandshake, version 1, for a mechanism without a name."""


async def _listener_protocol(host: str, port: int) -> SecurityProtocol | None:
    """Ask how a listener is secured; None where it does not tell. No secret is sent.

    One without SASL says that there is nothing to agree on, any other one which mechanisms it has.
    """
    for tls, plain, sasl in (
        (True, SecurityProtocol.SSL, SecurityProtocol.SASL_SSL),
        (False, SecurityProtocol.PLAINTEXT, SecurityProtocol.SASL_PLAINTEXT),
    ):
        reply = await first_bytes(host, port, _HANDSHAKE, 10, tls=tls)
        code = None if reply is None else struct.unpack(">8xh", reply)[0]
        if code == errors.IllegalSaslStateError.errno:
            return plain
        if code == errors.UnsupportedSaslMechanismError.errno:
            return sasl
    return None


def _reason(failure: BaseException | None, security: SecuritySettings) -> tuple[str, bool]:
    """Return what is wrong, with its fix, and whether it stays so until somebody changes it."""
    fitting = _fitting(security)
    lasting = False
    match failure:
        case CredentialsError():
            lasting, said = isinstance(failure, TokenRefusedError), str(failure.args[0])
        case (
            errors.SaslAuthenticationFailed()
            | errors.UnsupportedSaslMechanismError()
            | errors.IllegalSaslStateError()
        ):
            lasting, said = True, _sasl_reason(failure, security)
        case ssl.SSLCertVerificationError():
            lasting = True
            said = f"its certificate is not trusted ({failure.verify_message})"
            said += "; fix: kafka.security.ca_file, and a host by the certificate's name"
        case ssl.SSLError():
            said = f"no TLS connection ({failure.reason}); {fitting}"
        case ConnectionResetError() | errors.KafkaConnectionError() | None:
            said = f"it closed the connection; {fitting}"
        case socket.gaierror():
            said = f"unknown host ({failure.strerror})"
        case TimeoutError():
            said = "no answer"
        case OSError(errno=int(number)):
            said = os.strerror(number)
        case _:
            said = type(failure).__name__
    return said, lasting


def _fitting(security: SecuritySettings) -> str:
    return f"is kafka.security.protocol, {security.protocol.value}, that of its listener?"


def _sasl_reason(failure: errors.KafkaError, security: SecuritySettings) -> str:
    """Return what a broker refuses that speaks SASL, or not there."""
    mechanism = security.mechanism
    match failure:
        case errors.UnsupportedSaslMechanismError():
            return f"it does not take {mechanism.value}; fix: kafka.security.mechanism"
        case errors.IllegalSaslStateError():
            return f"it asks for no user there; {_fitting(security)}"
        case _ if mechanism is SaslMechanism.OAUTHBEARER:
            return (
                "it refuses the token; fix: what its listener asks of one (issuer, audience, "
                "scope, time)"
            )
        case _:
            return (
                f"it refuses the user {security.username} by {mechanism.value}; fix: "
                "kafka.security.username, password and mechanism must be right"
            )


@contextmanager
def transient_errors(action: str) -> Iterator[None]:
    """Raise ``TransientError`` for whatever an exchange with the brokers may end with."""
    try:
        yield
    except (
        errors.KafkaError,
        errors.IllegalStateError,
        ValueError,
        AssertionError,
        OSError,
    ) as error:
        raise TransientError(type(error).__name__, f"{action} failed") from error


class BrokersError(PreconditionError):
    """The brokers cannot be reached, or refuse or lack what a command needs."""


@contextmanager
def broker_errors(kafka: KafkaSettings) -> Iterator[None]:
    """Turn what the client raises into one line that says which brokers, what and why.

    For a command that does not try again. Raises ``BrokersError``.
    """
    try:
        yield
    except (errors.KafkaError, OSError, TransientError) as error:
        servers = ", ".join(kafka.bootstrap_servers)
        raise BrokersError(f"Kafka at {servers}: {describe_error(error)}") from error
    except PreconditionError as error:
        if type(error) is not PreconditionError:
            raise
        raise BrokersError(str(error)) from error


def describe_error(error: BaseException) -> str:
    """Return the error's name and text, in one line."""
    if isinstance(error, TransientError):
        return str(error)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _renewed_ssl_context(security: SecuritySettings) -> ssl.SSLContext:
    try:
        return _ssl_context(read_now(security))
    except SettingsError as error:
        raise CredentialsError(str(error)) from error


def _ssl_context(security: SecuritySettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file:
            password = _text(security.key_password)
            context.load_cert_chain(security.cert_file, security.key_file, password)
    except (OSError, ssl.SSLError) as error:
        used = ("ca_file", "cert_file", "key_file", "key_password")
        given = ", ".join(name for name in used if getattr(security, name))
        raise SettingsError(
            f"kafka.security: a certificate file cannot be used ({type(error).__name__}): "
            f"check {given}"
        ) from error
    return context


def _sasl_options(security: SecuritySettings) -> dict[str, Any]:
    mechanism = {"sasl_mechanism": security.mechanism.value}
    if security.mechanism is SaslMechanism.OAUTHBEARER:
        return mechanism | {"sasl_oauth_token_provider": token_provider(security)}
    return mechanism | {
        "sasl_plain_username": lambda: read_now(security).username,
        "sasl_plain_password": lambda: _text(read_now(security).password),
    }


def _ssl_options(security: SecuritySettings) -> dict[str, Any]:
    context = _ssl_context(security)  # what is wrong now ends the start
    if security.ca_file or security.cert_file:
        return {"ssl_context": partial(_renewed_ssl_context, security)}
    return {"ssl_context": context}


def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the options that consumer, producer and admin clients have in common.

    Certificates, and what comes from files, are read again for every connection, by functions
    that stand where the client expects values. Raises ``SettingsError`` where a certificate or a
    token provider cannot be loaded.
    """
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": kafka.client_id or kafka.group_id,
        "request_timeout_ms": int(kafka.request_timeout * 1000),
        "security_protocol": security.protocol.value,
    }
    if security.protocol.authenticated:
        options |= _sasl_options(security)
    if security.protocol.encrypted:
        options |= _ssl_options(security)
    return options
