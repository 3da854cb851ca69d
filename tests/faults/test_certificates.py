"""What is said where MongoDB's certificate is not to be trusted, and that it is shown ours."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from consumer.errors import PreconditionError, TransientError
from consumer.mongo.store import OpenStore, open_store
from consumer.settings.sources import load_settings
from consumer.wiring import retry_until, startup_policy
from tests.e2e.processes import LOOPBACK, free_port
from tests.fakes.certificates import listening, localhost_certificate, server_context

# A handshake that fails leaves its transport to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


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
