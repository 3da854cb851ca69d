"""What is said where TLS or a certificate will not do, and that MongoDB is shown ours."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn
from unittest.mock import Mock

import dns.asyncresolver
import dns.resolver
import pytest

from consumer.errors import ConsumerError, PreconditionError, TransientError
from consumer.mongo.clients import OP_MSG
from consumer.mongo.store import OpenStore, open_store
from consumer.settings.model import Settings
from consumer.settings.sources import load_settings
from consumer.wiring import retry_until, startup_policy
from tests.e2e.processes import LOOPBACK, free_port
from tests.fakes.certificates import listening, localhost_certificate, server_context
from tests.faults.test_wrong_start import refused, settings_with

# A handshake that fails leaves its transport to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


TLS_HANDSHAKE = b"\x16"
"""The first byte of whoever speaks TLS."""

DRIVERS = pytest.mark.parametrize("driver", ["motor", "pymongo"])


async def refused_start(uri: str, driver: str) -> str:
    """Return the line with which a start ends."""
    settings = load_settings(
        {"mongo.uri": uri, "mongo.driver": driver, "mongo.timeout": 5, "engine.startup_timeout": 3}
    )
    async with open_store(settings.mongo) as store:
        with pytest.raises(PreconditionError) as caught:
            await retry_until(
                "MongoDB",
                partial(store.answer, 0.5),
                startup_policy(settings),
                reason=store.trouble,
            )
    (line,) = str(caught.value).splitlines()
    return line


@DRIVERS
@pytest.mark.parametrize(
    ("days", "trusted", "reason"),
    [(2, False, "self-signed certificate"), (-1, True, "certificate has expired")],
)
@pytest.mark.reliability("F94")
async def test_a_certificate_that_is_not_trusted_or_has_expired_is_told_as_that(
    tmp_path: Path, driver: str, days: int, trusted: bool, reason: str
) -> None:
    certificate = localhost_certificate(tmp_path, days=days)
    authority = f"&tlsCAFile={certificate}" if trusted else ""
    async with listening(server_context(certificate)) as (port, _):
        line = await refused_start(f"mongodb://{LOOPBACK}:{port}/?tls=true{authority}", driver)
    assert f"{LOOPBACK}:{port}: [SSL: CERTIFICATE_VERIFY_FAILED]" in line
    assert reason in line
    assert "fix: tlsCAFile in mongo.uri" in line


@DRIVERS
async def test_one_bad_certificate_ends_no_start_while_another_server_is_away(
    tmp_path: Path, driver: str
) -> None:
    async with listening(server_context(localhost_certificate(tmp_path))) as (port, _):
        uri = f"mongodb://{LOOPBACK}:{port},{LOOPBACK}:{free_port()}/?tls=true"
        settings = load_settings({"mongo.uri": uri, "mongo.driver": driver})
        async with open_store(settings.mongo) as store:
            with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
                await store.answer(2.0)


@pytest.mark.reliability("F94")
async def test_a_server_that_asks_for_a_certificate_in_vain_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whether the alert is read before the connection is closed is left to chance.
    said = "db:27017: [SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required"
    monkeypatch.setattr(OpenStore, "_servers", lambda _: {("db", 27017): Mock(error=said)})
    line = await refused_start(f"mongodb://{LOOPBACK}:1/?tls=true", "pymongo")
    assert line == f"MongoDB at {said}; fix: tlsCertificateKeyFile in mongo.uri"


@DRIVERS
@pytest.mark.reliability("F94")
async def test_a_server_that_asks_for_a_certificate_is_shown_that_of_the_uri(
    tmp_path: Path, driver: str
) -> None:
    certificate = localhost_certificate(tmp_path)
    ours = localhost_certificate(tmp_path, name="consumer")
    context = server_context(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours)
    uri = "mongodb://{host}/?tls=true&tlsCAFile={ca}&tlsCertificateKeyFile={ours}{how}"
    how = "&authMechanism=MONGODB-X509&authSource=$external"
    async with listening(context) as (port, shown):
        await refused_start(
            uri.format(host=f"{LOOPBACK}:{port}", ca=certificate, ours=ours, how=how), driver
        )
        assert shown.get_nowait()["subject"] == ((("commonName", "consumer"),),)


async def test_one_bad_certificate_ends_no_start_while_another_broker_is_away(
    tmp_path: Path,
) -> None:
    away = f"{LOOPBACK}:{free_port()}"
    async with listening(server_context(localhost_certificate(tmp_path))) as (port, _):
        servers = f"{away},{LOOPBACK}:{port}"
        error = await refused(
            settings_with(kafka__bootstrap_servers=servers, kafka__security__protocol="SSL")
        )
    assert isinstance(error, TransientError)
    assert f"{away}: Connection refused; {LOOPBACK}:{port}: its certificate is" in str(error)


async def first_answer(settings: Settings) -> ConsumerError:
    """Return what a start meets at the database at once."""
    async with open_store(settings.mongo) as store:
        with pytest.raises(ConsumerError) as caught:
            await store.answer(1.0)
    return caught.value


@DRIVERS
@pytest.mark.reliability("F94")
async def test_a_database_that_speaks_no_tls_is_told_from_one_that_is_away(
    mongodb_uri: str, driver: str
) -> None:
    uri = mongodb_uri + ("&" if "?" in mongodb_uri else "/?") + "tls=true"
    error = await first_answer(settings_with(mongo__uri=uri, mongo__driver=driver))
    assert isinstance(error, PreconditionError)
    assert str(error).endswith(" answers without TLS; fix: tls in mongo.uri")


async def answer_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the first command as a server does, with nothing that a driver could use."""
    if await reader.read(16):
        writer.write(struct.pack("<4i", 16, 1, 1, OP_MSG))
    writer.close()


@DRIVERS
@pytest.mark.parametrize("options", ["", "?tls=false"])
@pytest.mark.reliability("F94")
async def test_a_database_that_speaks_tls_alone_is_told_as_that(
    tmp_path: Path, options: str, driver: str
) -> None:
    context = server_context(localhost_certificate(tmp_path))
    async with await asyncio.start_server(answer_hello, LOOPBACK, 0, ssl=context) as server:
        uri = f"mongodb://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/{options}"
        error = await first_answer(settings_with(mongo__uri=uri, mongo__driver=driver))
    assert isinstance(error, PreconditionError)
    assert str(error).endswith(" answers over TLS alone; fix: tls in mongo.uri")


@asynccontextmanager
async def listening_with_and_without_tls(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Give a port that is answered either way, as with net.tls.mode preferTLS."""
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), answer_hello)

    async def accept(listener: socket.socket) -> None:
        while True:
            connected, _ = await loop.sock_accept(listener)
            asked = asyncio.Event()
            loop.add_reader(connected, asked.set)
            await asked.wait()
            loop.remove_reader(connected)
            tls = connected.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE
            with suppress(OSError):
                await loop.connect_accepted_socket(
                    protocol, connected, ssl=context if tls else None
                )

    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(accept(listener))
            yield listener.getsockname()[1]
            accepting.cancel()


@DRIVERS
@pytest.mark.parametrize("options", ["", "?tls=true&tlsCAFile={ca}", "?TLS=true&tlsCAFile={ca}"])
@pytest.mark.reliability("F94")
async def test_a_database_that_speaks_both_is_waited_for(
    tmp_path: Path, options: str, driver: str
) -> None:
    certificate = localhost_certificate(tmp_path)
    async with listening_with_and_without_tls(server_context(certificate)) as port:
        uri = f"mongodb://{LOOPBACK}:{port}/{options.format(ca=certificate)}"
        error = await first_answer(settings_with(mongo__uri=uri, mongo__driver=driver))
    assert isinstance(error, TransientError)


@DRIVERS
async def test_one_server_with_other_tls_ends_no_start_while_another_is_away(
    tmp_path: Path, driver: str
) -> None:
    context = server_context(localhost_certificate(tmp_path))
    async with await asyncio.start_server(answer_hello, LOOPBACK, 0, ssl=context) as server:
        servers = f"{LOOPBACK}:{server.sockets[0].getsockname()[1]},{LOOPBACK}:{free_port()}"
        uri = f"mongodb://{servers}/"
        error = await first_answer(settings_with(mongo__uri=uri, mongo__driver=driver))
    assert isinstance(error, TransientError)


@DRIVERS
@pytest.mark.parametrize(
    ("options", "over_tls"),
    [
        ("", False),
        ("?tls=false", False),
        ("?ssl=true", True),
        ("?TLS=true", True),
        ("?tlsAllowInvalidCertificates=false", True),
    ],
)
async def test_whether_tls_is_spoken_is_what_the_driver_makes_of_the_uri(
    options: str, over_tls: bool, driver: str
) -> None:
    uri = f"mongodb://{LOOPBACK}:{free_port()}/{options}"
    settings = settings_with(mongo__uri=uri, mongo__driver=driver)
    async with open_store(settings.mongo) as store:
        assert store.trouble().startswith("no answer over TLS") is over_tls


def secondary() -> Mock:
    """A client as it is while one server answers over TLS, which is no primary."""
    answering = Mock(error=None, server_type_name="RSSecondary")
    client = Mock()
    client.options.pool_options._ssl_context = object()
    client.topology_description.server_descriptions.return_value = {(LOOPBACK, 1): answering}
    return client


def test_a_server_that_answers_over_tls_is_not_told_to_speak_none() -> None:
    store = OpenStore.__new__(OpenStore)
    store.client = secondary()
    assert not store.trouble()


@DRIVERS
async def test_a_start_waits_for_a_name_that_cannot_be_looked_up_and_tells_why(
    monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    async def look_up(*_: object, **__: object) -> NoReturn:
        raise dns.resolver.NoNameservers

    monkeypatch.setattr(dns.asyncresolver, "resolve", look_up)
    monkeypatch.setattr(dns.resolver, "resolve", Mock(side_effect=dns.resolver.NoNameservers))
    uri = "mongodb+srv://db.example.test/"
    error = await first_answer(settings_with(mongo__uri=uri, mongo__driver=driver))
    assert isinstance(error, TransientError)
    assert (error.cause, error.detail) == (
        "NoNameservers",
        "All nameservers failed to answer the query.",
    )
