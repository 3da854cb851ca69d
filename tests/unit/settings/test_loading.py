"""Where settings come from, which source wins, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer.errors import SettingsError
from consumer.mongo.clients import open_client
from consumer.settings.model import Settings
from consumer.settings.sources import exposed_files, load_settings, read_again
from consumer.settings.values import Driver, LogLevel

SECRET = "hunter2-canary"


def refusal(overrides: dict[str, object] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides)
    return str(caught.value)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "consumer.toml"
    monkeypatch.setenv("CONSUMER_CONFIG", str(path))
    return path


def test_with_nothing_set_the_defaults_hold() -> None:
    assert load_settings() == Settings()


def test_settings_built_directly_read_nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA__GROUP_ID", "from-environment")
    monkeypatch.setenv("KAFKA", "{}")
    assert Settings().kafka.group_id == "conversation-consumer"


def test_a_variable_sets_a_nested_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SSL")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__CA_FILE", "/etc/ca.pem")
    security = load_settings().kafka.security
    assert (security.protocol, security.ca_file) == ("SSL", "/etc/ca.pem")


def test_an_option_wins_over_the_environment_which_wins_over_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(
        '[kafka]\ngroup_id = "file"\ntopics = ["file"]\n[mongo]\ndatabase = "file"\ntimeout = 7\n'
    )
    monkeypatch.setenv("CONSUMER_KAFKA__GROUP_ID", "environment")
    monkeypatch.setenv("CONSUMER_KAFKA__TOPICS", "environment")
    settings = load_settings({"kafka.group_id": "option", "mongo.timeout": None})
    assert settings.kafka.group_id == "option"
    assert settings.kafka.topics == ("environment",)
    assert settings.mongo.database == "file"
    assert settings.mongo.timeout == 7.0


@pytest.mark.parametrize(
    "text",
    ["a,b", " a , b ,", '["a", "b"]', ' [" a ", "b"] '],
)
def test_a_list_is_json_or_separated_by_commas_and_trimmed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA__TOPICS", text)
    assert load_settings().kafka.topics == ("a", "b")


@pytest.mark.parametrize(
    "text", ["", " , ", "[]", "[1]", "[a", "a,b,a", "no spaces", "..", "a" * 250]
)
def test_a_list_of_topics_that_is_none_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA__TOPICS", text)
    assert refusal().startswith("kafka.topics: ")


def test_white_space_around_a_value_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_MONGO__DRIVER", " pymongo ")
    monkeypatch.setenv("CONSUMER_LOG__LEVEL", " debug\n")
    settings = load_settings()
    assert settings.mongo.driver is Driver.PYMONGO
    assert settings.log.level is LogLevel.DEBUG


@pytest.mark.reliability("F90")
def test_white_space_around_a_secret_of_the_environment_belongs_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__USERNAME", "user")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD", " a secret\t")
    password = load_settings().kafka.security.password
    assert password is not None
    assert password.get_secret_value() == " a secret\t"


def test_an_empty_variable_leaves_an_optional_setting_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_HTTP__PORT", "")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD", "")
    settings = load_settings()
    assert settings.http.port is None
    assert settings.kafka.security.password is None


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "KAFKA__KEY_POLICY",
            "ignore",
            "kafka.key_policy: 'ignore' is not allowed; allowed: warn, dead_letter",
        ),
        (
            "KAFKA__SESSION_TIMEOUT",
            "inf",
            "kafka.session_timeout: 'inf' is not allowed; allowed: seconds, above 0",
        ),
        (
            "ENGINE__MAX_POLL_RECORDS",
            "0",
            "engine.max_poll_records: '0' is not allowed; allowed: a whole number, 1 or more",
        ),
        (
            "HTTP__PORT",
            "65536",
            (
                "http.port: '65536' is not allowed; "
                "allowed: a port, 0 to 65535 (0: any free one); empty for none"
            ),
        ),
        (
            "KAFKA__BOOTSTRAP_SERVERS",
            "broker",
            (
                "kafka.bootstrap_servers: 'broker' is not allowed; "
                "allowed: host:port, port 1 to 65535, several separated by commas or as a JSON list"
            ),
        ),
        (
            "KAFKA__TOPICS",
            "a,b,a",
            (
                "kafka.topics: 'a,b,a' is not allowed ('a' stands twice); "
                "allowed: topic names, separated by commas or as a JSON list, each once"
            ),
        ),
        (
            "MONGO__CREATE_INDEXES",
            "perhaps",
            "mongo.create_indexes: 'perhaps' is not allowed; allowed: true, false",
        ),
    ],
)
def test_a_wrong_value_is_one_line_with_the_name_the_value_and_what_is_allowed(
    variable: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CONSUMER_{variable}", value)
    assert refusal() == line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MONGO__DATABASE", "a.b"),
        ("MONGO__DATABASE", "a" * 64),
        ("MONGO__EVENTS", "system.users"),
        ("MONGO__EVENTS", "$events"),
        ("MONGO__RETENTION_DAYS", "1"),
        ("KAFKA__GROUP_ID", " "),
        ("KAFKA__GROUP_INSTANCE_ID", "consumer 0"),
        ("KAFKA__GROUP_INSTANCE_ID", ".."),
        ("KAFKA__BOOTSTRAP_SERVERS", "kafka://broker:9092"),
        ("LOG__LEVEL", "verbose"),
        ("DEAD_LETTERS__BREAKER_SHARE", "1.1"),
    ],
)
def test_a_value_that_a_server_would_refuse_later_is_refused_now(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CONSUMER_{variable}", value)
    name = variable.lower().replace("__", ".")
    assert refusal().startswith(f"{name}: {value.strip()!r} is not allowed; allowed: ")


def test_every_problem_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA__GROUPID", "x")
    monkeypatch.setenv("CONSUMER_HTTP__PORT", "x")
    monkeypatch.setenv("CONSUMER_MONGO__DRIVER", "x")
    assert [line.split(":")[0] for line in refusal().split("\n")] == [
        "CONSUMER_KAFKA__GROUPID",
        "mongo.driver",
        "http.port",
    ]


def test_an_unknown_variable_is_an_error_that_suggests_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA_TOPICS", "a")
    assert refusal() == (
        "CONSUMER_KAFKA_TOPICS: there is no such setting; did you mean CONSUMER_KAFKA__TOPICS?"
    )


def test_an_unknown_key_of_the_file_is_an_error_that_suggests_the_nearest(config: Path) -> None:
    config.write_text('[kafka]\ntopic = "a"\n[x.y]\nz = 1\n')
    assert refusal().split("\n") == [
        "kafka.topic: there is no such setting; did you mean kafka.topics?",
        "x.y.z: there is no such setting",
    ]


def test_an_unknown_option_is_an_error() -> None:
    assert refusal({"kafka.groupid": "x"}) == (
        "kafka.groupid: there is no such setting; did you mean kafka.group_id?"
    )


@pytest.mark.parametrize(
    "variable",
    ["SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR"],
)
def test_variables_that_kubernetes_derives_from_a_service_are_passed_over(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CONSUMER_{variable}", "tcp://10.0.0.1:8080")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[kafka", "is not TOML"), (None, "cannot be read: No such file"), (b"\xff", "not UTF-8")],
)
def test_a_file_that_is_no_toml_or_not_there_is_said_to_be_so(
    config: Path, text: str | bytes | None, problem: str
) -> None:
    if text is not None:
        config.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refusal().startswith("CONSUMER_CONFIG: ")
    assert problem in refusal()


def test_a_secret_may_come_from_a_file_without_its_last_line_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uri").write_text("mongodb://u:p@db:27017/\n")
    (tmp_path / "password").write_text(" with spaces \r\n")
    monkeypatch.setenv("CONSUMER_MONGO__URI_FILE", str(tmp_path / "uri"))
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__USERNAME", "u")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SASL_PLAINTEXT")
    settings = load_settings()
    assert settings.mongo.uri.get_secret_value() == "mongodb://u:p@db:27017/"
    assert settings.kafka.security.password == SecretStr(" with spaces ")


def test_a_secret_given_twice_or_in_a_missing_file_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_MONGO__URI", "mongodb://db")
    monkeypatch.setenv("CONSUMER_MONGO__URI_FILE", "/no/such/file")
    assert refusal() == "mongo.uri: set either CONSUMER_MONGO__URI or CONSUMER_MONGO__URI_FILE"
    monkeypatch.delenv("CONSUMER_MONGO__URI")
    assert refusal() == (
        "CONSUMER_MONGO__URI_FILE: the file that it names cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    ("content", "trouble"),
    [(None, "cannot be read: No such file or directory"), ("\n", "is empty")],
)
def test_what_its_file_does_not_hold_is_not_called_missing_as_well(
    content: str | None, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD_FILE", str(file))
    assert refusal().splitlines() == [
        f"CONSUMER_KAFKA__SECURITY__PASSWORD_FILE: the file that it names {trouble}",
        "kafka.security.username is missing: kafka.security.protocol is SASL_SSL",
    ]


def test_no_message_and_no_rendering_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_MONGO__URI", f"mongo://u:{SECRET}@db")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD", SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "mongo.uri: the value (not shown) is not allowed" in str(caught.value)
    assert caught.value.__context__ is None
    assert SECRET not in str(caught.value)

    monkeypatch.setenv("CONSUMER_MONGO__URI", f"mongodb://u:{SECRET}@db")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__USERNAME", "u")
    settings = load_settings()
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_long_value_is_quoted_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_HTTP__PORT", "9" * 10_000)
    assert len(refusal()) < 250


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONSUMER_METRICS_PORT", "tcp://10.0.0.1:8080"),
        ("CONSUMER_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("CONSUMER_METRICS_SERVICE_PORT", "8080"),
        ("CONSUMER_METRICS_SERVICE_PORT_HTTP", "8080"),
        ("CONSUMER_METRICS_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("CONSUMER_METRICS_PORT_8080_TCP_PROTO", "tcp"),
        ("CONSUMER_HTTP_PORT", "udp://10.0.0.1:8080"),
        ("CONSUMER_LAG_EXPORTER_PORT_53_UDP_ADDR", "10.0.0.1"),
    ],
)
@pytest.mark.reliability("F91")
def test_a_service_of_any_name_keeps_no_pod_from_starting(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert load_settings() == Settings()


@pytest.mark.parametrize("variable", ["CONSUMER_HTTP_PORT", "CONSUMER_METRICS_PORT"])
@pytest.mark.reliability("F91")
def test_a_misspelt_port_is_still_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "8080")
    assert refusal().startswith(f"{variable}: there is no such setting")


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("[::1]:9092", ("[::1]:9092",)),
        ("localhost:1,[::1]:9092", ("localhost:1", "[::1]:9092")),
        ("[::1]:9092,localhost:1", ("[::1]:9092", "localhost:1")),
        ('["[::1]:9092"]', ("[::1]:9092",)),
        (" a:1 ,b:2,\n", ("a:1", "b:2")),
    ],
)
@pytest.mark.reliability("F93")
def test_every_address_that_kafka_could_mean_is_read(text: str, servers: tuple[str, ...]) -> None:
    assert load_settings({"kafka.bootstrap_servers": text}).kafka.bootstrap_servers == servers


@pytest.mark.parametrize(
    "text",
    [
        "a:0", "a:99999", "a", "::1:9092", '"a:9092"', "'a:9092'", "SASL_SSL://a:9092",
        "a:9092;b:9092", "- a:9092\n- b:9092", "a:\u0669\u0660", "[::1]",
    ],
)  # fmt: skip
@pytest.mark.reliability("F93")
def test_every_other_is_refused_before_anything_is_opened(text: str) -> None:
    assert refusal({"kafka.bootstrap_servers": text}).startswith("kafka.bootstrap_servers: ")


@pytest.mark.parametrize("driver", list(Driver))
@pytest.mark.parametrize(
    "rest", ["h:99999/", "h/?tls=true&tlsCAFile=/no/such.pem", "u:p/w@h/", "u:p%zz@h/"]
)
@pytest.mark.reliability("F93")
def test_a_uri_that_the_driver_refuses_is_a_wrong_setting(driver: Driver, rest: str) -> None:
    settings = load_settings({"mongo.uri": f"mongodb://{rest}", "mongo.driver": driver})
    with pytest.raises(SettingsError, match=r"^mongo\.uri: "):
        open_client(settings.mongo)


@pytest.mark.reliability("F87")
def test_a_secret_in_the_place_of_its_file_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD_FILE", SECRET)
    said = refusal()
    assert "CONSUMER_KAFKA__SECURITY__PASSWORD_FILE" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "name", [SECRET, f"mongodb://u:{SECRET}@h/?a", f"kafka.security.password{SECRET}"]
)
@pytest.mark.reliability("F87")
def test_a_secret_in_the_place_of_a_name_is_not_repeated(name: str) -> None:
    said = refusal({name: "x"})
    assert "there is no such setting" in said
    assert SECRET not in said


@pytest.mark.reliability("F87")
def test_a_misspelt_name_is_repeated_with_the_one_that_was_meant() -> None:
    said = refusal({"kafka.security.pasword": SECRET})
    assert said == (
        "kafka.security.pasword: there is no such setting; did you mean kafka.security.password?"
    )


@pytest.mark.reliability("F87")
def test_a_password_in_an_address_is_not_repeated() -> None:
    said = refusal({"kafka.bootstrap_servers": f"SASL_SSL://user:{SECRET}@host:9092"})
    assert "host:9092" in said
    assert SECRET not in said


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
@pytest.mark.reliability("F87")
def test_c38_what_a_file_holds_in_the_place_of_its_name_is_not_repeated(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
    given = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem", name: pem}
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SSL")
    for each, text in given.items():
        monkeypatch.setenv(f"CONSUMER_KAFKA__SECURITY__{each.upper()}", text)
    said = f"kafka.security.{name} must be the name of a file, not what the file holds"
    assert refusal() == said


@pytest.mark.reliability("F87")
def test_a_byte_order_mark_is_no_part_of_a_password_or_a_file(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[kafka]\ngroup_id = "g"\n', encoding="utf-8-sig")
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\r\n", encoding="utf-8-sig", newline="")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD_FILE", str(file))
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__KEY_PASSWORD", f"\ufeff{SECRET}")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__CERT_FILE", "c")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__KEY_FILE", "k")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__USERNAME", "u")
    settings = load_settings()
    assert settings.kafka.group_id == "g"
    assert settings.kafka.security.password == SecretStr(SECRET)
    assert settings.kafka.security.key_password == SecretStr(SECRET)


def test_a_user_name_and_secrets_are_read_again_from_the_files_that_they_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, password = tmp_path / "name", tmp_path / "password"
    name.write_text("first\n")
    password.write_text(f"{SECRET}\n")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__USERNAME_FILE", str(name))
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD_FILE", str(password))
    security = load_settings().kafka.security
    assert (security.username, security.password) == ("first", SecretStr(SECRET))
    name.write_text("second\n")
    password.write_text("another\n")
    fresh = read_again(security)
    assert (fresh.username, fresh.password) == ("second", SecretStr("another"))
    from_nowhere = load_settings({}, {}).kafka.security
    assert read_again(from_nowhere) == from_nowhere
    password.write_text("")
    with pytest.raises(ValueError, match=r"PASSWORD_FILE: the file is empty"):
        read_again(security)


def test_what_an_option_sets_is_not_read_again_from_the_file_that_it_won_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("of the file")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__USERNAME", "u")
    monkeypatch.setenv("CONSUMER_KAFKA__SECURITY__PASSWORD_FILE", str(file))
    security = load_settings({"kafka.security.password": SECRET}).kafka.security
    assert security.password == SecretStr(SECRET)
    assert read_again(security).password == SecretStr(SECRET)


@pytest.mark.parametrize(
    "url", ["http://idp/token", "https://u:p@idp/token", "idp/token", "http://localhost.idp/token"]
)
def test_a_client_secret_is_sent_over_tls_alone(url: str) -> None:
    assert "kafka.security.token_url" in refusal({"kafka.security.token_url": url})


def test_a_file_that_holds_no_secret_may_be_read_by_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(0o644)
    for name in ("CA_FILE", "CERT_FILE", "KEY_FILE", "USERNAME_FILE"):
        monkeypatch.setenv(f"CONSUMER_KAFKA__SECURITY__{name}", str(file))
    assert exposed_files() == ["CONSUMER_KAFKA__SECURITY__KEY_FILE"]


@pytest.mark.reliability("F87")
def test_a_file_that_everybody_may_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "uri"
    file.write_text("mongodb://h/")
    monkeypatch.setenv("CONSUMER_MONGO__URI_FILE", str(file))
    file.chmod(0o644)
    assert exposed_files() == ["CONSUMER_MONGO__URI_FILE"]
    file.chmod(0o640)
    assert exposed_files() == []


@pytest.mark.parametrize(
    "setting",
    ["mongo.timeout", "kafka.fetch_max_bytes", "http.port", "dead_letters.breaker_share",
     "mongo.retention_days", "engine.batches_in_flight"],
)  # fmt: skip
@pytest.mark.reliability("F87")
def test_true_is_no_number(config: Path, setting: str) -> None:
    group, _, name = setting.partition(".")
    config.write_text(f"[{group}]\n{name} = true\n")
    assert refusal().startswith(f"{setting}: True is not allowed; ")
