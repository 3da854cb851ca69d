"""Closing a client must not hold up the end of a process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from pydantic import SecretStr

from consumer.errors import SettingsError
from consumer.mongo import clients
from consumer.mongo.clients import close_client, open_client, servers_of
from consumer.settings.model import MongoSettings
from consumer.settings.values import Driver
from tests.fakes.certificates import localhost_certificate

NOBODY = SecretStr("mongodb://127.0.0.1:9/?directConnection=true")


async def test_closing_pymongo_takes_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = open_client(MongoSettings(uri=NOBODY, driver=Driver.PYMONGO))
    begun = asyncio.Event()

    async def close() -> None:
        begun.set()
        await asyncio.Event().wait()

    close_for_good = client.close
    monkeypatch.setattr(clients, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "close", close)
    async with asyncio.timeout(5):
        await close_client(client)
    assert begun.is_set()
    await close_for_good()  # type: ignore[misc]  # Motor's would return nothing


async def test_closing_motor_neither_stops_the_event_loop_nor_takes_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = open_client(MongoSettings(uri=NOBODY, driver=Driver.MOTOR))
    let_go = threading.Event()
    close_for_good = client.delegate.close
    monkeypatch.setattr(clients, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(type(client), "close", lambda _: let_go.wait())
    async with asyncio.timeout(5):
        await close_client(client)
    let_go.set()
    close_for_good()


@pytest.mark.parametrize("driver", Driver)
async def test_a_date_beyond_the_years_of_python_is_read_all_the_same(driver: Driver) -> None:
    client = open_client(MongoSettings(uri=NOBODY, driver=driver))
    later = DatetimeMS(253_402_300_800_000)
    assert bson.decode(bson.encode({"t": later}), client.codec_options) == {"t": later}
    await close_client(client)


@pytest.mark.parametrize("driver", Driver)
async def test_a_client_that_can_close_is_closed(driver: Driver) -> None:
    client = open_client(MongoSettings(uri=NOBODY, driver=driver))
    await close_client(client)
    with pytest.raises(Exception, match=r"[Cc]losed|Cannot use"):
        await client.admin.command("ping")


@pytest.mark.parametrize("driver", Driver)
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("mongodb://h/?tls=hunter2", "tls is no option of the driver, or its value is not allowed"),
        ("mongodb://h/d?w=1&hunter=2", "hunter is no option of the driver, or"),
        ("mongodb://h/?w=1;hunter2", "an option (not shown) is no option"),
        ("mongodb://u:hunter2@x@h", "not a connection string the driver accepts (InvalidURI); fix"),
    ],
)
def test_what_the_driver_would_go_without_is_refused_and_no_value_told(
    uri: str, said: str, driver: Driver
) -> None:
    with pytest.raises(SettingsError) as refused:
        open_client(MongoSettings(uri=SecretStr(uri), driver=driver))
    assert str(refused.value).startswith(f"mongo.uri: {said}")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("driver", Driver)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("authMechanism=SCRAM-SHA-256", "SCRAM-SHA-256 requires a username"),
        ("tls=true&tlsCertificateKeyFile={certificate}", "Private key doesn't match certificate: "),
    ],
)
def test_options_that_lack_something_are_refused_with_what_they_lack(
    options: str, said: str, driver: Driver, tmp_path: Path
) -> None:
    localhost_certificate(tmp_path)
    uri = "mongodb://h/?" + options.format(certificate=tmp_path / "localhost.crt")
    with pytest.raises(SettingsError) as refused:
        open_client(MongoSettings(uri=SecretStr(uri), driver=driver))
    assert str(refused.value).startswith(f"mongo.uri: the driver refuses its options: {said}")


async def test_what_it_can_do_without_is_not_refused() -> None:
    some = SecretStr("mongodb://127.0.0.1:9/?compressors=zlib&appName=a%20b&authSource=$external")
    await close_client(open_client(MongoSettings(uri=some)))


@pytest.mark.parametrize(
    ("uri", "servers"),
    [
        ("mongodb://host", "host:27017"),
        ("mongodb://b:1,A,b:1/?replicaSet=r", "a:27017,b:1"),
        ("mongodb://user:p%40ss@host:1/admin", "host:1"),
        ("mongodb://user:p@ss@host?tls=true", "host:27017"),
        ("mongodb://[::1]:1,[::2]/", "[::1]:1,[::2]:27017"),
        ("mongodb+srv://user:pass@cluster.example.net/db?w=1", "mongodb+srv://cluster.example.net"),
    ],
)
@pytest.mark.reliability("F63")
def test_servers_are_named_in_one_way_and_without_a_secret(uri: str, servers: str) -> None:
    assert servers_of(uri) == servers
