"""All settings in their groups, with defaults that fit together, and the rules between them.

The texts feed docs/settings.md.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.rejection import KeyPolicy
from consumer.settings.values import (
    Bytes,
    CollectionName,
    Count,
    DatabaseName,
    Days,
    Driver,
    FunctionName,
    InstanceId,
    LogFormat,
    LogLevel,
    MayBeInFile,
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
    TokenUrl,
    TopicName,
    TopicNames,
    UpperCase,
    shown,
)

SESSIONS_TOPIC = "conversation.sessions"
EVENTS_TOPIC = "conversation.events"


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
    username: Annotated[Text | None, Optionally, MayBeInFile] = None
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
    token_url: Annotated[TokenUrl | None, Optionally] = None
    """The token endpoint that OAUTHBEARER gets its tokens from, by client credentials."""
    token_client_id: Annotated[Text | None, Optionally, MayBeInFile] = None
    """The client id at the token endpoint."""
    token_client_secret: Annotated[SecretStr | None, Optionally] = None
    """The client secret at the token endpoint."""
    token_scope: Annotated[Text | None, Optionally] = None
    """The scope to ask for, several separated by spaces; the endpoint's default when not set."""
    token_ca_file: Annotated[Text | None, Optionally] = None
    """A PEM file of the authorities to trust at the token endpoint; the system's when not set."""
    token_provider: Annotated[FunctionName | None, Optionally] = None
    """A Python function that returns a token, in the place of a token endpoint."""
    files: Annotated[tuple[tuple[str, str], ...], Field(exclude=True)] = ()
    """Which of these settings came from a file, and from which: no setting of its own."""


class KafkaSettings(SettingsGroup):
    """The brokers, the topics and the group."""

    bootstrap_servers: Servers = ("localhost:9092",)
    """The brokers to ask first."""
    topics: TopicNames = (SESSIONS_TOPIC, EVENTS_TOPIC)
    """The topics to read; every kind of message is accepted on each of them."""
    group_id: Text = "conversation-consumer"
    """The consumer group; its committed offsets say what has been stored."""
    group_instance_id: Annotated[InstanceId | None, Optionally] = None
    """A name that this process alone has, and has again after a restart: it keeps its partitions.

    While it is away nobody reads them, for ``kafka.session_timeout`` at most.
    """
    client_id: Annotated[Text | None, Optionally] = None
    """What the brokers call this client in logs, quotas and metrics; the group when not set."""
    client_rack: Annotated[Text | None, Optionally] = None
    """The rack or zone of this process, as in the brokers' broker.rack: replicas there are read."""
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
    """A partition is held when more than this share of its latest records is rejected; 1: never."""
    breaker_window: Count = 1000
    """How many of the latest records that share is taken of."""
    breaker_minimum: Count = 100
    """How many records, rejected or not, there must be before that share counts."""


class MongoSettings(SettingsGroup):
    """The database. What was said is kept: retention is off unless it is set."""

    uri: MongoUri = SecretStr("mongodb://localhost:27017")
    """Where MongoDB is, with credentials where it asks for them."""
    database: DatabaseName = "conversations"
    """The database of all collections."""
    sessions: CollectionName = "conversation_sessions"
    """The collection of sessions."""
    events: CollectionName = "conversation_events"
    """The collection of events."""
    moved_from: Annotated[Text | None, Optionally] = None
    """The key of the place from which the documents were moved, as a refused start prints it."""
    driver: Driver = Driver.PYMONGO
    """Which driver to use: PyMongo's own asyncio API, or Motor, which it replaces."""
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
    """Health, metrics and the status page over HTTP."""

    host: Text = "0.0.0.0"  # noqa: S104 -- probes and scrapers come from outside the container
    """The address to listen on."""
    port: Annotated[Port | None, Optionally] = None
    """The port of /livez, /readyz, /metrics and the status page at /; off when not set."""


class TracingSettings(SettingsGroup):
    """Traces, by OpenTelemetry (docs/tracing.md)."""

    enabled: bool = False
    """Whether each batch becomes a span; needs the extra ``otel`` and a tracer provider."""


class Settings(SettingsGroup):
    """Everything that can be set, with the defaults that fit together.

    Built directly it reads nothing from outside; ``load_settings`` does that.
    """

    kafka: KafkaSettings = KafkaSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    mongo: MongoSettings = MongoSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _rules_across_fields(self) -> Self:
        broken = [*_order(self), *_security(self.kafka.security), *_names(self)]
        if broken:
            raise ValueError("\n".join(broken))
        return self


# --- rules that no single setting can break alone: one line for each that is broken ------

BELOW = (
    # The client caps JoinGroup by the request timeout, which the broker may hold for the
    # rebalance timeout; and one silent broker can hold heartbeats up for a request timeout.
    ("kafka.rebalance_timeout", "kafka.request_timeout"),
    ("kafka.request_timeout", "kafka.session_timeout"),
    ("kafka.rebalance_timeout", "kafka.max_poll_interval"),
    # Otherwise the process reports itself unhealthy while it only waits for its next try.
    ("engine.backoff_max", "engine.stall_after"),
)
AT_MOST = (
    ("kafka.max_partition_fetch_bytes", "kafka.fetch_max_bytes"),
    ("dead_letters.breaker_minimum", "dead_letters.breaker_window"),
    ("engine.backoff_initial", "engine.backoff_max"),
)


def _order(settings: Settings) -> Iterator[str]:
    for pairs, words, refused in ((BELOW, "below", operator.ge), (AT_MOST, "at most", operator.gt)):
        for low_name, high_name in pairs:
            low, high = operator.attrgetter(low_name, high_name)(settings)
            if refused(low, high):
                yield f"{low_name} ({shown(low)}) must be {words} {high_name} ({shown(high)})"
    kafka = settings.kafka
    if kafka.heartbeat_interval > kafka.session_timeout / 3:
        yield (
            f"kafka.heartbeat_interval ({kafka.heartbeat_interval:g}) must be at most a third of "
            f"kafka.session_timeout ({kafka.session_timeout:g})"
        )


_FILES = ("ca_file", "cert_file", "key_file")
_PASSWORD = ("username", "password")
_BY_URL = ("token_client_id", "token_client_secret")
_TOKEN = ("token_url", *_BY_URL, "token_scope", "token_ca_file", "token_provider")


def _security(security: SecuritySettings) -> Iterator[str]:
    protocol = security.protocol
    group = "kafka.security"
    given = {name for name in type(security).model_fields if getattr(security, name) is not None}
    yield from _mechanism(security, given)
    for names, used, allowed in (
        ((*_PASSWORD, *_TOKEN), protocol.authenticated, "SASL_PLAINTEXT, SASL_SSL"),
        ((*_FILES, "key_password"), protocol.encrypted, "SSL, SASL_SSL"),
    ):
        for name in names:
            if name in given and not used:
                yield (
                    f"{group}.{name} is not used while {group}.protocol is {protocol}; "
                    f"allowed with it: {allowed}"
                )
    for name in (*_FILES, "token_ca_file"):
        # What stands there may be a private key: it is not quoted.
        if "-----BEGIN" in (getattr(security, name) or ""):
            yield f"{group}.{name} must be the name of a file, not what the file holds"
    for name, needed in (
        ("cert_file", "key_file"),
        ("key_file", "cert_file"),
        ("key_password", "key_file"),
    ):
        if name in given and needed not in given:
            yield f"{group}.{name} needs {group}.{needed}"


def _mechanism(security: SecuritySettings, given: set[str]) -> Iterator[str]:
    """Refuse what the mechanism needs and has not, and what it does not use."""
    if not security.protocol.authenticated:
        return
    group, mechanism = "kafka.security", security.mechanism
    by_token = mechanism is SaslMechanism.OAUTHBEARER
    needed = () if by_token else _PASSWORD
    if by_token and given.isdisjoint({"token_url", "token_provider"}):
        yield f"{group}.token_url or token_provider is missing: {group}.mechanism is {mechanism}"
    if by_token and "token_url" in given:
        needed = _BY_URL
    for name in needed:
        if name not in given:
            because = "token_url is set" if by_token else f"protocol is {security.protocol}"
            yield f"{group}.{name} is missing: {group}.{because}"
    for name in _PASSWORD if by_token else _TOKEN:
        if name in given:
            yield f"{group}.{name} is not used while {group}.mechanism is {mechanism}"
    for name in _TOKEN:
        if by_token and name in given and name != "token_provider" and "token_provider" in given:
            yield f"{group}.{name} is not used while {group}.token_provider is set"


def _names(settings: Settings) -> Iterator[str]:
    """Refuse loops: a record that can never succeed would go round as fast as brokers allow.

    Names that differ in case only are other topics to Kafka, but no one means them so.
    """
    letters = settings.dead_letters
    read = {topic.casefold() for topic in settings.kafka.topics}
    for name, topic in (
        ("dead_letters.topic", letters.topic),
        ("dead_letters.parking_topic", letters.parking_topic),
    ):
        if topic.casefold() in read:
            yield f"{name} ({topic!r}) must not be one of kafka.topics: its records would go round"
    if letters.topic.casefold() == letters.parking_topic.casefold():
        yield (
            f"dead_letters.parking_topic ({letters.parking_topic!r}) must differ from "
            "dead_letters.topic: a redrive would meet the records that it parks"
        )
    if settings.mongo.sessions == settings.mongo.events:
        events = settings.mongo.events
        yield f"mongo.sessions and mongo.events must differ; both are {events!r}"
