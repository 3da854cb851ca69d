"""How every Kafka client of ours connects: one place that turns settings into client options."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any, assert_never

import aiokafka.admin.client
import aiokafka.client
from aiokafka.protocol.metadata import MetadataRequest

from consumer.errors import SettingsError
from consumer.settings import KafkaSettings, SecurityProtocol, SecuritySettings

# aiokafka 0.14 lets brokers create every topic that it asks for: even the check for a topic would
# create it, with the cluster's number of partitions. There is no option, so this is for every
# client of the process, whoever makes it.
aiokafka.client.MetadataRequest = aiokafka.admin.client.MetadataRequest = partial(
    MetadataRequest, allow_auto_topic_creation=False
)


def _ssl_context(security: SecuritySettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file:
            password = security.key_password
            context.load_cert_chain(
                security.cert_file,
                security.key_file,
                password.get_secret_value() if password else None,
            )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.security: a certificate file cannot be used ({type(error).__name__}): "
            "check ca_file, cert_file, key_file and key_password"
        ) from error
    return context


def _sasl_options(security: SecuritySettings) -> dict[str, Any]:
    password = security.password
    return {
        "sasl_mechanism": security.mechanism.value,
        "sasl_plain_username": security.username,
        "sasl_plain_password": password.get_secret_value() if password else None,
    }


def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the options that consumer, producer and admin clients have in common.

    Raises ``SettingsError`` where a certificate cannot be loaded.
    """
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": kafka.group_id,
        "request_timeout_ms": int(kafka.request_timeout * 1000),
        "security_protocol": security.protocol.value,
    }
    match security.protocol:
        case SecurityProtocol.PLAINTEXT:
            pass
        case SecurityProtocol.SSL:
            options["ssl_context"] = _ssl_context(security)
        case SecurityProtocol.SASL_PLAINTEXT:
            options |= _sasl_options(security)
        case SecurityProtocol.SASL_SSL:
            options |= _sasl_options(security)
            options["ssl_context"] = _ssl_context(security)
        case _:
            assert_never(security.protocol)
    return options
