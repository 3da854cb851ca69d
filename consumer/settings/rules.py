"""Rules that no single setting can break alone. Pure: settings in, violations out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from consumer.settings.groups import (
    DeadLetterSettings,
    EngineSettings,
    KafkaSettings,
    MongoSettings,
    SecuritySettings,
)


def violations(
    kafka: KafkaSettings,
    dead_letters: DeadLetterSettings,
    mongo: MongoSettings,
    engine: EngineSettings,
) -> list[str]:
    """One line for each rule that is broken, naming every setting it is about."""
    return [
        *_kafka_times(kafka),
        *_fetch_sizes(kafka),
        *_security(kafka.security),
        *_topics(kafka, dead_letters),
        *_breaker(dead_letters),
        *_collections(mongo),
        *_patience(engine),
    ]


def _kafka_times(kafka: KafkaSettings) -> Iterator[str]:
    # The client caps JoinGroup by the request timeout, which the broker may hold for the
    # rebalance timeout; and one silent broker can hold heartbeats up for a request timeout.
    yield from _ascending(
        ("kafka.rebalance_timeout", kafka.rebalance_timeout),
        ("kafka.request_timeout", kafka.request_timeout),
        ("kafka.session_timeout", kafka.session_timeout),
    )
    yield from _ascending(
        ("kafka.rebalance_timeout", kafka.rebalance_timeout),
        ("kafka.max_poll_interval", kafka.max_poll_interval),
    )
    if kafka.heartbeat_interval > kafka.session_timeout / 3:
        yield (
            f"kafka.heartbeat_interval ({kafka.heartbeat_interval:g}) must be at most a third of "
            f"kafka.session_timeout ({kafka.session_timeout:g})"
        )


def _ascending(*named: tuple[str, float]) -> Iterator[str]:
    for (low_name, low), (high_name, high) in pairwise(named):
        if low >= high:
            yield f"{low_name} ({low:g}) must be below {high_name} ({high:g})"


def _fetch_sizes(kafka: KafkaSettings) -> Iterator[str]:
    if kafka.max_partition_fetch_bytes > kafka.fetch_max_bytes:
        yield (
            f"kafka.max_partition_fetch_bytes ({kafka.max_partition_fetch_bytes}) must be at most "
            f"kafka.fetch_max_bytes ({kafka.fetch_max_bytes})"
        )


def _security(security: SecuritySettings) -> Iterator[str]:
    protocol = security.protocol
    for name in ("username", "password"):
        given = getattr(security, name) is not None
        if protocol.authenticated and not given:
            yield f"kafka.security.{name} is missing: kafka.security.protocol is {protocol}"
        if given and not protocol.authenticated:
            yield (
                f"kafka.security.{name} is not used while kafka.security.protocol is {protocol}; "
                "allowed with it: SASL_PLAINTEXT, SASL_SSL"
            )
    for name in ("ca_file", "cert_file", "key_file"):
        # What stands there may be a private key: it is not quoted.
        if "-----BEGIN" in (getattr(security, name) or ""):
            yield f"kafka.security.{name} must be the name of a file, not what the file holds"
    for name in ("ca_file", "cert_file", "key_file", "key_password"):
        if getattr(security, name) is not None and not protocol.encrypted:
            yield (
                f"kafka.security.{name} is not used while kafka.security.protocol is {protocol}; "
                "allowed with it: SSL, SASL_SSL"
            )
    for name, needed in (
        ("cert_file", "key_file"),
        ("key_file", "cert_file"),
        ("key_password", "key_file"),
    ):
        if getattr(security, name) is not None and getattr(security, needed) is None:
            yield f"kafka.security.{name} needs kafka.security.{needed}"


def _topics(kafka: KafkaSettings, dead_letters: DeadLetterSettings) -> Iterator[str]:
    """Refuse loops: a record that can never succeed would go round as fast as brokers allow.

    Names that differ in case only are other topics to Kafka, but no one means them so.
    """
    read = {topic.casefold() for topic in kafka.topics}
    for name, topic in (
        ("dead_letters.topic", dead_letters.topic),
        ("dead_letters.parking_topic", dead_letters.parking_topic),
    ):
        if topic.casefold() in read:
            yield f"{name} ({topic!r}) must not be one of kafka.topics: its records would go round"
    if dead_letters.topic.casefold() == dead_letters.parking_topic.casefold():
        yield (
            f"dead_letters.parking_topic ({dead_letters.parking_topic!r}) must differ from "
            "dead_letters.topic: a redrive would meet the records that it parks"
        )


def _breaker(dead_letters: DeadLetterSettings) -> Iterator[str]:
    if dead_letters.breaker_minimum > dead_letters.breaker_window:
        yield (
            f"dead_letters.breaker_minimum ({dead_letters.breaker_minimum}) must be at most "
            f"dead_letters.breaker_window ({dead_letters.breaker_window})"
        )


def _collections(mongo: MongoSettings) -> Iterator[str]:
    if mongo.sessions == mongo.events:
        yield f"mongo.sessions and mongo.events must differ; both are {mongo.events!r}"


def _patience(engine: EngineSettings) -> Iterator[str]:
    if engine.backoff_initial > engine.backoff_max:
        yield (
            f"engine.backoff_initial ({engine.backoff_initial:g}) must be at most "
            f"engine.backoff_max ({engine.backoff_max:g})"
        )
    # Otherwise the process reports itself unhealthy while it only waits for its next try.
    yield from _ascending(
        ("engine.backoff_max", engine.backoff_max), ("engine.stall_after", engine.stall_after)
    )
