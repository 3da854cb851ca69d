"""The demo's settings: what suits the embedded servers, and nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer.demo.servers import EmbeddedServers
from consumer.settings import (
    DeadLetterSettings,
    KafkaSettings,
    MongoSettings,
    embedded_profile,
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The settings as groups, for this process, and by dotted name, for the consumers."""

    overrides: Mapping[str, object]
    kafka: KafkaSettings
    mongo: MongoSettings
    dead_letters: DeadLetterSettings

    @classmethod
    def of(cls, servers: EmbeddedServers) -> Surroundings:
        """Return the settings for these servers."""
        overrides = {
            **embedded_profile(),
            "kafka.bootstrap_servers": servers.bootstrap_servers,
            "kafka.group_id": "demo",
            "mongo.uri": servers.mongodb_uri,
            # The embedded database has one core's worth of Python: on a busy machine a large
            # batch would miss its deadline, and be applied again, over and over.
            "mongo.timeout": 60.0,
            "engine.max_poll_records": 500,
            "log.format": "json",
        }
        return cls(
            overrides,
            KafkaSettings(**_group(overrides, "kafka.")),
            MongoSettings(**_group(overrides, "mongo.")),
            DeadLetterSettings(**_group(overrides, "dead_letters.")),
        )


def _group(overrides: Mapping[str, object], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in overrides.items()
        if name.startswith(prefix)
    }
