"""What must hold between settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consumer.demo.consumers import EMBEDDED_BROKER
from consumer.errors import SettingsError
from consumer.settings.model import KafkaSettings, Settings
from consumer.settings.sources import load_settings

SASL = {
    "kafka.security.protocol": "SASL_SSL",
    "kafka.security.username": "u",
    "kafka.security.password": "p",
}
OAUTH = {"kafka.security.protocol": "SASL_SSL", "kafka.security.mechanism": "OAUTHBEARER"}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"kafka.rebalance_timeout": 30}, ("kafka.rebalance_timeout", "kafka.request_timeout")),
        ({"kafka.request_timeout": 45}, ("kafka.request_timeout", "kafka.session_timeout")),
        ({"kafka.max_poll_interval": 20}, ("kafka.rebalance_timeout", "kafka.max_poll_interval")),
        ({"kafka.heartbeat_interval": 15.1}, ("kafka.heartbeat_interval", "kafka.session_timeout")),
        (
            {"kafka.fetch_max_bytes": 1024},
            ("kafka.max_partition_fetch_bytes", "kafka.fetch_max_bytes"),
        ),
        ({"dead_letters.topic": "conversation.events"}, ("dead_letters.topic", "kafka.topics")),
        (
            {"dead_letters.parking_topic": "conversation.events"},
            ("dead_letters.parking_topic", "kafka.topics"),
        ),
        (
            {"dead_letters.parking_topic": "conversation.dead-letters"},
            ("dead_letters.parking_topic", "dead_letters.topic"),
        ),
        (
            {"dead_letters.breaker_minimum": 1001},
            ("dead_letters.breaker_minimum", "dead_letters.breaker_window"),
        ),
        ({"mongo.events": "conversation_sessions"}, ("mongo.events", "mongo.sessions")),
        ({"engine.backoff_initial": 31}, ("engine.backoff_initial", "engine.backoff_max")),
        ({"engine.stall_after": 30}, ("engine.backoff_max", "engine.stall_after")),
        (
            {"kafka.security.protocol": "SASL_PLAINTEXT", "kafka.security.username": "u"},
            ("kafka.security.password", "kafka.security.protocol"),
        ),
        (
            {"kafka.security.protocol": "SASL_SSL", "kafka.security.password": "p"},
            ("kafka.security.username", "kafka.security.protocol"),
        ),
        ({"kafka.security.username": "u"}, ("kafka.security.username", "SASL_SSL")),
        ({"kafka.security.ca_file": "ca.pem"}, ("kafka.security.ca_file", "SSL")),
        (
            {"kafka.security.protocol": "SSL", "kafka.security.cert_file": "c.pem"},
            ("kafka.security.cert_file", "kafka.security.key_file"),
        ),
        (
            {"kafka.security.protocol": "SSL", "kafka.security.key_file": "k.pem"},
            ("kafka.security.key_file", "kafka.security.cert_file"),
        ),
        (
            {**SASL, "kafka.security.key_password": "p"},
            ("kafka.security.key_password", "kafka.security.key_file"),
        ),
        ({**OAUTH}, ("kafka.security.token_url or token_provider", "kafka.security.mechanism")),
        (
            {
                **OAUTH,
                "kafka.security.token_url": "https://h/",
                "kafka.security.token_client_id": "c",
            },
            ("kafka.security.token_client_secret", "kafka.security.token_url"),
        ),
        (
            {**OAUTH, "kafka.security.token_provider": "a:b", "kafka.security.token_scope": "s"},
            ("kafka.security.token_scope", "kafka.security.token_provider"),
        ),
        (
            {**OAUTH, "kafka.security.token_provider": "a:b", "kafka.security.username": "u"},
            ("kafka.security.username", "kafka.security.mechanism"),
        ),
        (
            {**SASL, "kafka.security.token_url": "https://h/"},
            ("kafka.security.token_url", "kafka.security.mechanism"),
        ),
        ({"kafka.security.token_provider": "a:b"}, ("kafka.security.token_provider", "SASL_SSL")),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_one_line_that_names_both(
    overrides: dict[str, object], named: tuple[str, str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides)
    (line,) = str(caught.value).split("\n")
    assert all(name in line for name in named)


@pytest.mark.parametrize(
    "dead_letters",
    ["conversation.dead-letters", " conversation.dead-letters\t", "Conversation.Dead-Letters"],
)
@pytest.mark.parametrize(
    "topics",
    [
        "conversation.sessions,conversation.events,conversation.dead-letters",
        '["conversation.sessions", " conversation.dead-letters "]',
        "CONVERSATION.DEAD-LETTERS",
    ],
)
def test_the_dead_letter_topic_among_the_topics_is_refused_however_it_is_written(
    dead_letters: str, topics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUMER_DEAD_LETTERS__TOPIC", dead_letters)
    monkeypatch.setenv("CONSUMER_KAFKA__TOPICS", topics)
    with pytest.raises(SettingsError, match=r"^dead_letters\.topic .*kafka\.topics"):
        load_settings()


def test_a_user_name_and_files_of_certificates_go_together_over_sasl_ssl() -> None:
    settings = load_settings(
        {
            **SASL,
            "kafka.security.ca_file": "ca.pem",
            "kafka.security.cert_file": "c.pem",
            "kafka.security.key_file": "k.pem",
            "kafka.security.key_password": "p",
        }
    )
    assert settings.kafka.security.protocol.encrypted
    assert settings.kafka.security.protocol.authenticated


def test_the_profile_of_the_embedded_servers_keeps_every_rule() -> None:
    settings = load_settings(EMBEDDED_BROKER)
    assert settings.kafka.session_timeout == 6.0
    assert settings.dead_letters.idempotent is False


def test_settings_that_break_a_rule_cannot_even_be_built() -> None:
    with pytest.raises(ValidationError):
        Settings(kafka=KafkaSettings(session_timeout=1))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().kafka.group_id = "other"  # type: ignore[misc]  # that it is refused is the point
