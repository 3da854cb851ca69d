"""What every test can count on: servers, names of its own, seeds that are printed."""

from __future__ import annotations

import logging
import math
import os
import secrets
import zlib
from collections.abc import Iterator
from random import Random
from typing import NoReturn

import hypothesis
import pytest
import structlog
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from consumer.observability.logs import LibraryHandler
from consumer.settings.model import KafkaSettings, SecuritySettings
from consumer.settings.values import SaslMechanism, SecurityProtocol
from tests.browser import CHROMIUM_VARIABLE, EXECUTABLES, Browser, find_chromium, open_browser
from tests.servers import provision
from tests.servers.control import Control
from tests.servers.provision import Kind, Server

BASE_SEED = int(os.environ.get("TEST_SEED") or secrets.randbelow(2**32))

hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")

servers_in_use: dict[str, Server] = {}


# --- seeds and order --------------------------------------------------------------------


def pytest_report_header() -> str:
    return f"seed: {BASE_SEED} (TEST_SEED={BASE_SEED} repeats this run's random choices)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run in any order where ``TEST_SHUFFLE`` is set: of files, and within each."""
    if os.environ.get("TEST_SHUFFLE"):
        chance = Random(BASE_SEED)
        chance.shuffle(items)
        # Files stay together, since what a file shares is expensive to set up again.
        places = {path: chance.random() for path in sorted({item.path for item in items})}
        items.sort(key=lambda item: places[item.path])


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of this test's own, the same for the same ``TEST_SEED``; shown if it fails."""
    own = zlib.crc32(request.node.nodeid.encode(), BASE_SEED)
    print(f"seed of this test: {own} (TEST_SEED={BASE_SEED})")  # noqa: T201 -- shown on failure
    return own


@pytest.fixture
def rng(seed: int) -> Random:
    """Random choices that can be repeated."""
    return Random(seed)


@pytest.fixture
def unique_name() -> str:
    """A name that no other test uses, fit for a topic, a group and a database."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests set nothing in them."""
    for name in list(os.environ):
        if name.startswith("CONSUMER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that sets up the log does so for its process; the next test is another one."""
    yield
    if structlog.is_configured():
        root = logging.getLogger()
        ours = [one for one in root.handlers if isinstance(one, LibraryHandler)]
        for handler in ours:
            # Or its writer's thread would, into whatever the next test prints.
            handler.flush_repeats(math.inf)
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers[:] = [one for one in root.handlers if one not in ours]
        root.setLevel(logging.WARNING)


# --- servers ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with provision.kafka(tmp_path_factory.mktemp("kafka")) as server:
        servers_in_use["Kafka"] = server
        yield server


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with provision.mongodb(tmp_path_factory.mktemp("mongodb")) as server:
        servers_in_use["MongoDB"] = server
        yield server


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(kafka_server: Server) -> str:
    return kafka_server.address


@pytest.fixture(scope="session")
def mongodb_uri(mongodb_server: Server) -> str:
    return mongodb_server.address


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser. Mark the test ``browser``."""
    if find_chromium() is None:
        known = ", ".join(EXECUTABLES)
        _cannot_run(f"no browser: {CHROMIUM_VARIABLE} is not set, and none of {known} on the PATH")
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def secured_kafka() -> KafkaSettings:
    """The same brokers' listener that asks for a password over TLS, for one who may do all."""
    given = {
        name: os.environ.get(f"TEST_KAFKA_SASL_{name}", "")
        for name in ("BOOTSTRAP_SERVERS", "CA_FILE", "USERNAME", "PASSWORD")
    }
    if not all(given.values()):
        _cannot_run("TEST_KAFKA_SASL_BOOTSTRAP_SERVERS, _CA_FILE, _USERNAME, _PASSWORD are not set")
    return KafkaSettings(
        bootstrap_servers=tuple(given["BOOTSTRAP_SERVERS"].split(",")),
        security=SecuritySettings(
            protocol=SecurityProtocol.SASL_SSL,
            username=given["USERNAME"],
            password=SecretStr(given["PASSWORD"]),
            ca_file=given["CA_FILE"],
        ),
    )


@pytest.fixture
def oauth_kafka(secured_kafka: KafkaSettings) -> KafkaSettings:
    """The same listener for tokens that nobody has signed, whose sessions end with them."""
    if not os.environ.get("TEST_KAFKA_OAUTHBEARER"):
        _cannot_run("TEST_KAFKA_OAUTHBEARER is not set")
    security = secured_kafka.security.model_copy(
        update={"mechanism": SaslMechanism.OAUTHBEARER, "username": None, "password": None}
    )
    return secured_kafka.model_copy(update={"security": security})


@pytest.fixture
def kafka_control(kafka_server: Server) -> Iterator[Control]:
    """Harm to brokers, all of which run again when the test ends. Mark it ``kafka_control``."""
    yield kafka_server.control
    kafka_server.control.restore()


@pytest.fixture
def mongodb_control(mongodb_server: Server) -> Iterator[Control]:
    """Harm to the database, which runs again when the test ends. Mark it ``mongodb_control``."""
    yield mongodb_server.control
    mongodb_server.control.restore()


@pytest.fixture(autouse=True)
def _has_what_its_marks_ask_for(request: pytest.FixtureRequest) -> Iterator[None]:
    marks = {mark.name for mark in request.node.iter_markers()}
    if "container" in marks and not provision.docker_answers():
        _cannot_run("no Docker engine answers")
    if "real_kafka" in marks and _server(request, "kafka_server").kind is Kind.EMBEDDED:
        _cannot_run(f"the embedded broker is not Kafka; {provision.KAFKA_VARIABLE} names one")
    if "kafka_control" in marks and not _server(request, "kafka_server").control.possible:
        _cannot_run(f"{provision.KAFKA_CONTROL} is not set")
    if "mongodb_control" in marks and not _server(request, "mongodb_server").control.possible:
        _cannot_run(f"{provision.MONGODB_CONTROL} is not set")
    if "fail_command" in marks and not _fails_on_command(_server(request, "mongodb_server")):
        _cannot_run("the database serves no configureFailPoint")
    yield
    if "fail_command" in marks:  # a test that failed may have left its trap for the next one
        _fails_on_command(_server(request, "mongodb_server"))


def _server(request: pytest.FixtureRequest, name: str) -> Server:
    server = request.getfixturevalue(name)
    assert isinstance(server, Server)
    return server


def _cannot_run(why: str) -> NoReturn:
    """Skip; where ``TEST_REQUIRE_SERVERS`` is set, fail: there, nothing may be left out."""
    if os.environ.get("TEST_REQUIRE_SERVERS"):
        pytest.fail(f"cannot run: {why}", pytrace=False)
    pytest.skip(why)


def _fails_on_command(server: Server) -> bool:
    """Disarm the failpoint; whether there is one to disarm is the answer."""
    with MongoClient[dict[str, object]](server.address) as client:
        try:
            client.admin.command("configureFailPoint", "failCommand", mode="off")
        except OperationFailure:
            return False
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers these results are about."""
    if servers_in_use:
        terminalreporter.section("servers")
        for role, server in servers_in_use.items():
            terminalreporter.line(f"{role}: {server}")
