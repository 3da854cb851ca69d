"""The groups of settings with the defaults that fit together. The texts feed docs/settings.md."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.rejection import KeyPolicy
from consumer.settings.values import (
    Bytes,
    CollectionName,
    Count,
    DatabaseName,
    Days,
    Driver,
    LogFormat,
    LogLevel,
    MongoUri,
    OnGap,
    Optionally,
    Port,
    SaslMechanism,
    Seconds,
    SecurityProtocol,
    Servers,
    Share,
    Text,
    TopicName,
    TopicNames,
    UpperCase,
)


class SettingsGroup(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        # A refused value is quoted by our own message, and only where it is no secret.
        hide_input_in_errors=True,
    )


class SecuritySettings(SettingsGroup):
    """How to reach brokers that ask who you are."""

    protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """How the brokers' listener is secured, in Kafka's words."""
    mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    """The SASL mechanism, used with SASL_PLAINTEXT and SASL_SSL."""
    username: Annotated[Text | None, Optionally] = None
    """The SASL user name."""
    password: Annotated[SecretStr | None, Optionally] = None
    """The SASL password."""
    ca_file: Annotated[Text | None, Optionally] = None
    """A PEM file of the certificate authorities to trust; the system's own when not set."""
    cert_file: Annotated[Text | None, Optionally] = None
    """A PEM file of the client's certificate, where brokers ask for one."""
    key_file: Annotated[Text | None, Optionally] = None
    """A PEM file of the client certificate's private key."""
    key_password: Annotated[SecretStr | None, Optionally] = None
    """The password of that private key."""


class KafkaSettings(SettingsGroup):
    """The brokers, the topics and the group."""

    bootstrap_servers: Servers = ("localhost:9092",)
    """The brokers to ask first."""
    topics: TopicNames = ("conversation.sessions", "conversation.events")
    """The topics to read; every kind of message is accepted on each of them."""
    group_id: Text = "conversation-consumer"
    """The consumer group; its committed offsets say what has been stored."""
    key_policy: KeyPolicy = KeyPolicy.WARN
    """What becomes of a record whose key is not its sessionId: applied and counted, or refused."""
    on_gap: OnGap = OnGap.CONTINUE
    """What to do when the broker deleted records before they were read."""
    security: SecuritySettings = SecuritySettings()
    session_timeout: Seconds = 45.0
    """After this long without a heartbeat the group gives a member's partitions to others."""
    request_timeout: Seconds = 30.0
    """How long to wait for a broker's answer."""
    rebalance_timeout: Seconds = 20.0
    """How long a rebalance waits for a member; the time there is to drain revoked partitions."""
    heartbeat_interval: Seconds = 3.0
    """The pause between heartbeats."""
    max_poll_interval: Seconds = 300.0
    """After this long without a poll a member leaves the group."""
    metadata_max_age: Seconds = 5.0
    """After how long to ask again which topics there are, which they are, and how they are led."""
    max_partition_fetch_bytes: Bytes = 4 * 1024 * 1024
    """The most that one fetch brings of one partition, as compressed by the producer."""
    fetch_max_bytes: Bytes = 50 * 1024 * 1024
    """About the most that is kept in memory of what was fetched and not yet processed."""
    max_decompressed_bytes: Bytes = 64 * 1024 * 1024
    """The most that a batch may unpack to; a partition stops at a larger one, others go on."""
    max_value_bytes: Bytes = MAX_VALUE_BYTES
    """The largest value that is read as JSON; a larger one is dead-lettered unread."""


class DeadLetterSettings(SettingsGroup):
    """Where records go that can never be applied, and when not to send more."""

    topic: TopicName = "conversation.dead-letters"
    """Where records go that can never be applied."""
    parking_topic: TopicName = "conversation.parking"
    """Where a redrive puts dead letters that came back too often."""
    max_attempts: Count = 3
    """How often a dead letter may be sent back before it is parked."""
    max_request_bytes: Annotated[Bytes | None, Optionally] = None
    """The largest dead letter to send, a larger one is cut; what the topic takes when not set."""
    idempotent: bool = True
    """Whether the dead letters' producer is idempotent; the embedded broker cannot serve that."""
    breaker_share: Share = 0.5
    """The share of rejected records in the window from which on no more letters are sent."""
    breaker_window: Count = 1000
    """How many of the latest records that share is taken of."""
    breaker_minimum: Count = 100
    """From how many rejected records on the share counts."""


class MongoSettings(SettingsGroup):
    """The database. What was said is kept: retention is off unless it is set."""

    uri: MongoUri = SecretStr("mongodb://localhost:27017")
    """Where MongoDB is, with credentials where it asks for them."""
    database: DatabaseName = "conversations"
    """The database of both collections."""
    sessions: CollectionName = "conversation_sessions"
    """The collection of sessions."""
    events: CollectionName = "conversation_events"
    """The collection of events."""
    moved_from: Annotated[Text | None, Optionally] = None
    """The key of the place from which the documents were moved, as a refused start prints it."""
    driver: Driver = Driver.MOTOR
    """Which asyncio driver to use."""
    timeout: Seconds = 10.0
    """How long one command may take in all before it is tried again."""
    max_pool_size: Count = 20
    """The most connections to each server."""
    retention_days: Annotated[Days | None, Optionally] = None
    """After how many days documents are deleted; never when not set."""
    create_indexes: bool = True
    """Whether each start asks for the indexes to be created; they are checked in any case."""


class EngineSettings(SettingsGroup):
    """How much is in flight, and how patient the engine is."""

    max_poll_records: Count = 2000
    """The most records of one poll."""
    max_batch_bytes: Bytes = 32 * 1024 * 1024
    """The most bytes of keys, values and headers in one batch; one record at least."""
    batches_in_flight: Count = 3
    """How many batches, each of other partitions, are being written at once."""
    commit_interval: Seconds = 1.0
    """The pause between commits of offsets."""
    drain_deadline: Seconds = 20.0
    """How long a stop waits for what is in flight; keep the container's grace period longer."""
    startup_timeout: Seconds = 60.0
    """How long to wait at start for the brokers and the database, both together."""
    backoff_initial: Seconds = 0.1
    """The first pause before a batch is tried again; each further one doubles, with jitter."""
    backoff_max: Seconds = 30.0
    """The longest such pause."""
    stall_after: Seconds = 120.0
    """After this long with lag and without progress the process reports itself unhealthy."""


class LogSettings(SettingsGroup):
    """What is written to standard error."""

    format: LogFormat = LogFormat.AUTO
    """JSON lines or readable ones; auto: readable on a terminal, JSON elsewhere."""
    level: Annotated[LogLevel, UpperCase] = LogLevel.INFO
    """The least severe lines that are written."""


class HttpSettings(SettingsGroup):
    """Health and metrics over HTTP."""

    host: Text = "0.0.0.0"  # noqa: S104 -- probes and scrapers come from outside the container
    """The address to listen on."""
    port: Annotated[Port | None, Optionally] = None
    """The port of /livez, /readyz and /metrics; off when not set."""


class Settings(BaseSettings):
    """Everything that can be set, with the defaults that fit together.

    Built directly it reads nothing from outside; ``load_settings`` does that.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka: KafkaSettings = KafkaSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    mongo: MongoSettings = MongoSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()

    @model_validator(mode="after")
    def _rules_across_fields(self) -> Self:
        broken = violations(self.kafka, self.dead_letters, self.mongo, self.engine)
        if broken:
            raise ValueError("\n".join(broken))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the caller gives and nothing else."""
        return (init_settings,)


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
