"""Nothing that must stay unknown gets through."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from consumer.observability.redaction import LONGEST_TEXT, Redactor, known_secrets
from consumer.settings.model import KafkaSettings, MongoSettings, SecuritySettings, Settings

CANARY = "hunter2-canary"


@pytest.mark.parametrize(
    "text",
    [
        f"mongodb://user:{CANARY}@db:27017/?x=1",
        f"connect to mongodb+srv://user:{CANARY}@db failed",
        f"mongodb://user:{CANARY}@odd@db",
        f"SASL://u:p/{CANARY}@broker:9092",
    ],
)
def test_credentials_in_a_uri_are_cut_out_and_the_host_stays(text: str) -> None:
    cleaned = Redactor().text(text)
    assert CANARY not in cleaned
    assert "***@" in cleaned


def test_a_uri_without_credentials_stays_as_it_is() -> None:
    text = "http://127.0.0.1:8080/metrics and someone@example.org"
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "name", ["password", "sasl_password", "key_password", "uri", "mongo_uri", "token", "secret"]
)
def test_a_value_whose_name_says_secret_is_not_shown(name: str) -> None:
    assert Redactor().value(CANARY, name) == "***"
    assert Redactor().value({name: [CANARY]}) == {name: "***"}


@pytest.mark.parametrize("name", ["group", "compass", "security", "curious", "passed"])
def test_a_value_whose_name_only_resembles_one_is_shown(name: str) -> None:
    assert Redactor().value("text", name) == "text"


def test_a_known_secret_is_blackened_wherever_it_stands() -> None:
    redactor = Redactor([CANARY, CANARY + "-longer"])
    value = redactor.value(["x" + CANARY + "y", {"k": (CANARY + "-longer",)}])
    assert value == ["x***y", {"k": ["***"]}]


def test_all_secrets_of_the_settings_are_known_as_given_and_as_decoded() -> None:
    settings = Settings(
        mongo=MongoSettings(uri=SecretStr("mongodb://u:p%40ss-word@db")),
        kafka=KafkaSettings(
            security=SecuritySettings.model_validate(
                {
                    "protocol": "SASL_SSL",
                    "username": "u",
                    "password": "kafka-pass",
                    "cert_file": "c",
                    "key_file": "k",
                    "key_password": "key-pass",
                }
            )
        ),
    )
    assert set(known_secrets(settings)) == {
        "mongodb://u:p%40ss-word@db",
        "p%40ss-word",
        "p@ss-word",
        "kafka-pass",
        "key-pass",
    }


def test_the_client_secret_of_the_token_endpoint_is_known() -> None:
    security = {
        "protocol": "SASL_SSL",
        "mechanism": "OAUTHBEARER",
        "token_url": "https://idp/token",
        "token_client_id": "consumer",
        "token_client_secret": "client-pass",
    }
    settings = Settings.model_validate({"kafka": {"security": security}})
    assert known_secrets(settings) == ("client-pass",)


def test_a_uri_without_a_password_is_no_secret() -> None:
    assert known_secrets(Settings()) == ()


def test_a_secret_too_short_to_hide_does_not_blacken_everything() -> None:
    settings = Settings(mongo=MongoSettings(uri=SecretStr("mongodb://u:e@db")))
    assert "e" not in known_secrets(settings)


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    short = Redactor().short("x" * 5000)
    assert short == "x" * LONGEST_TEXT + "… (5000 characters)"


def test_a_secret_across_the_cut_does_not_show_its_beginning() -> None:
    redactor = Redactor([CANARY])
    assert CANARY[:5] not in redactor.short("x" * (LONGEST_TEXT - 5) + CANARY)


@pytest.mark.parametrize("value", [CANARY.encode(), object(), ValueError(CANARY)])
def test_bytes_and_foreign_objects_show_their_type_only(value: object) -> None:
    assert Redactor().value(value) == f"<{type(value).__name__}>"


def test_plain_values_stay_what_they_are() -> None:
    moment = datetime(2026, 3, 4, tzinfo=UTC)
    values = [True, 1, 1.5, None, "text", moment]
    assert Redactor().value(values) == [True, 1, 1.5, None, "text", str(moment)]


@pytest.mark.parametrize(
    "query",
    [
        "tlsCertificateKeyFilePassword=S3cr-Pw9z",
        "authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:S3cr-Pw9z,A:b",
        "a=b;proxyPassword=S3cr-Pw9z",
    ],
)
@pytest.mark.reliability("F87")
def test_secrets_in_the_query_of_a_uri_are_known(query: str) -> None:
    settings = Settings(mongo=MongoSettings(uri=SecretStr(f"mongodb://h/?{query}")))
    assert "S3cr" not in Redactor(known_secrets(settings)).text("said: S3cr-Pw9z")
