"""What a listener that closes connections is asked, and what is made of its answer."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    UnsupportedSaslMechanismError,
)

from consumer.errors import PreconditionError, TransientError
from consumer.kafka.connection import BrokersError, broker_errors, unreachable
from consumer.settings.model import KafkaSettings, SecuritySettings
from consumer.settings.values import SecurityProtocol
from consumer.terminal import OutputError
from tests.e2e.processes import LOOPBACK, free_port
from tests.fakes.certificates import localhost_certificate, server_context

HANDSHAKE = (
    b"\x00\x00\x00\x0c" + b"\x00\x11\x00\x01" + b"\x00\x00\x00\x01" + b"\x00\x00" + b"\x00\x00"
)


SETTINGS = KafkaSettings()


async def verdict(
    configured: SecurityProtocol,
    code: int | None,
    context: ssl.SSLContext | None,
    others: Sequence[str] = (),
) -> tuple[type[Exception], str]:
    """Return what a listener is called that answers so; None: it closes without a word.

    ``others``: further addresses of brokers.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(len(HANDSHAKE))
        if asked == HANDSHAKE and code is not None:
            writer.write(struct.pack(">iihi", 10, 1, code, 0))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, 0, ssl=context) as server:
        server_at = f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        kafka = KafkaSettings(
            bootstrap_servers=(*others, server_at), security=SecuritySettings(protocol=configured)
        )
        error = await unreachable(kafka, KafkaConnectionError())
    return type(error), str(error).partition(f"{server_at}: ")[2]


@pytest.mark.parametrize(
    ("code", "tls", "spoken"),
    [
        (IllegalSaslStateError.errno, False, SecurityProtocol.PLAINTEXT),
        (IllegalSaslStateError.errno, True, SecurityProtocol.SSL),
        (UnsupportedSaslMechanismError.errno, True, SecurityProtocol.SASL_SSL),
    ],
)
async def test_a_listener_of_another_protocol_is_named_and_not_tried_again(
    tmp_path: Path, code: int, tls: bool, spoken: SecurityProtocol
) -> None:
    context = server_context(localhost_certificate(tmp_path)) if tls else None
    kind, said = await verdict(SecurityProtocol.SASL_PLAINTEXT, code, context)
    assert kind is PreconditionError
    assert said == f"its listener is {spoken}, not SASL_PLAINTEXT; fix: kafka.security.protocol"
    kind, said = await verdict(spoken, code, context)
    assert (kind, said.partition(";")[0]) == (TransientError, "it closed the connection")


async def test_one_that_says_nothing_may_come_back() -> None:
    kind, said = await verdict(SecurityProtocol.SSL, None, None)
    assert (kind, said.partition(";")[0]) == (TransientError, "it closed the connection")


async def test_one_listener_of_another_protocol_ends_no_start_while_others_are_away() -> None:
    away = f"{LOOPBACK}:{free_port()}"
    code = IllegalSaslStateError.errno
    kind, said = await verdict(SecurityProtocol.SSL, code, None, [away])
    assert kind is TransientError
    assert said == "its listener is PLAINTEXT, not SSL; fix: kafka.security.protocol"


@pytest.mark.parametrize(
    "error",
    [
        KafkaConnectionError(),
        OSError("away"),
        TransientError("KafkaConnectionError", "away"),
        PreconditionError("its listener is SSL, not PLAINTEXT; fix: kafka.security.protocol"),
    ],
)
def test_who_tries_once_hears_of_the_brokers_by_one_error(error: Exception) -> None:
    """A program that publishes catches no other: a password that is refused is one, too."""
    with pytest.raises(BrokersError, match=r"away|listener|Connection"), broker_errors(SETTINGS):
        raise error


def test_what_is_not_of_the_brokers_stays_what_it_is() -> None:
    with pytest.raises(OutputError), broker_errors(SETTINGS):
        raise OutputError("standard output cannot be written")
