"""Certificates that are written anew while the service runs."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile
from ssl import CERT_REQUIRED

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from consumer.errors import SettingsError, TransientError
from consumer.kafka.connection import connection_options, unreachable
from consumer.settings.model import KafkaSettings, SecuritySettings
from consumer.settings.values import SecurityProtocol
from tests.e2e.processes import LOOPBACK
from tests.fakes.certificates import listening, localhost_certificate, server_context


def over_tls(port: int, ca_file: Path, own: Path) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=(f"{LOOPBACK}:{port}",),
        security=SecuritySettings(
            protocol=SecurityProtocol.SSL,
            ca_file=str(ca_file),
            cert_file=str(own),
            key_file=str(own),
        ),
    )


async def failure(client: AIOKafkaClient, kafka: KafkaSettings) -> str:
    """Return why a connection could not be made."""
    with pytest.raises(KafkaConnectionError) as caught:
        await client.bootstrap()
    error = await unreachable(kafka, caught.value)
    assert isinstance(error, TransientError)
    return str(error)


@pytest.mark.reliability("F27")
async def test_each_connection_shows_the_certificate_that_the_file_holds_then(
    tmp_path: Path,
) -> None:
    server = localhost_certificate(tmp_path)
    old, new = (localhost_certificate(tmp_path, name=name) for name in ("old", "new"))
    own = tmp_path / "own.pem"
    copyfile(old, own)
    context = server_context(server)
    context.verify_mode = CERT_REQUIRED
    for certificate in (old, new):
        context.load_verify_locations(certificate)
    async with listening(context) as (port, shown):
        kafka = over_tls(port, server, own)
        client = AIOKafkaClient(**connection_options(kafka))
        for certificate in (old, new):
            copyfile(certificate, own)
            await failure(client, kafka)
            subject = (await shown.get())["subject"]
            assert subject == ((("commonName", certificate.stem),),)
        own.write_text("half of a certifi")
        assert "a certificate file cannot be used (SSLError)" in await failure(client, kafka)
        assert shown.empty()
        copyfile(old, own)
        await failure(client, kafka)
        assert (await shown.get())["subject"] == ((("commonName", "old"),),)
        await client.close()


def test_a_certificate_that_is_none_at_the_start_is_a_wrong_setting(tmp_path: Path) -> None:
    file = tmp_path / "none.pem"
    file.write_text("none")
    said = r"a certificate file cannot be used \(SSLError\): check ca_file, cert_file, key_file$"
    with pytest.raises(SettingsError, match=said):
        connection_options(over_tls(9092, file, file))
