"""The image's recipe and what the README types, as far as they can be tried without Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

from consumer import __version__
from consumer.observability.health import Health
from consumer.observability.http_server import serve
from consumer.observability.incidents import RecentIncidents
from consumer.observability.instance_status import StatusReader
from consumer.observability.metrics import Metrics
from consumer.settings.model import HttpSettings, Settings
from consumer.settings.sources import load_settings

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def install(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the step that puts the packages into the image, below ``directory``."""
    (step,) = re.findall(r"^RUN (mkdir -p /opt/consumer(?:.*\\\n)*.*)$", RECIPE, re.MULTILINE)
    script = step.replace("/opt/consumer", str(directory / "opt"))
    return subprocess.run(
        ["/bin/sh", "-ec", script],
        cwd=directory,
        # The image's python3 is the one that the tests run with.
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    directory = tmp_path / "deploy/site-packages"
    directory.mkdir(parents=True)
    (directory / "plain.py").touch()
    (directory / "any.abi3.so").touch()
    return directory


def test_packages_of_the_images_python_are_taken(packages: Path, tmp_path: Path) -> None:
    (packages / f"fast.{sysconfig.get_config_var('SOABI')}.so").touch()
    done = install(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opt/plain.py").exists()


@pytest.mark.reliability("F92")
def test_packages_that_were_left_there_for_another_python_are_refused(
    packages: Path, tmp_path: Path
) -> None:
    (packages / "fast.cpython-39-x86_64-linux-gnu.so").touch()
    done = install(tmp_path)
    assert done.returncode == 1
    assert "fast.cpython-39" in done.stderr
    assert "make site-packages" in done.stderr
    assert not (tmp_path / "opt/plain.py").exists()


@pytest.mark.reliability("F92")
def test_what_the_image_exposes_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", RECIPE, re.MULTILINE)
    for name, value in re.findall(r"(CONSUMER_\w+)=(\S+)", RECIPE):
        if name in RECIPE.partition("FROM ${PYTHON_IMAGE}\nENV")[2]:
            monkeypatch.setenv(name, value)
    assert load_settings().http.port == int(exposed)


@pytest.mark.reliability("F92")
def test_what_the_readme_types_into_the_image_is_in_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^docker compose run .*tools (.*)$", readme, re.MULTILINE)
    assert commands
    # The real conversations come with the extra `demo`, which the image does without.
    assert [command for command in commands if "chitchat" in command] == []


def test_the_image_says_which_version_it_is_and_how_to_ask_for_its_health() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in RECIPE
    (probe,) = re.findall(r"^HEALTHCHECK .*CMD (.*)$", RECIPE, re.MULTILINE)
    script, _ = json.loads(probe)
    assert os.access(ROOT / "deploy" / "bin" / script, os.X_OK)


def test_the_image_is_labelled_as_the_image_specification_of_oci_has_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', RECIPE))
    assert labels.keys() == {
        "title", "description", "version", "revision", "created", "licenses", "base.name",
    }  # fmt: skip
    assert (labels["title"], labels["licenses"]) == (project["name"], project["license"])
    assert RECIPE.count("LABEL ") == 1
    # A variable that is not declared in the last stage is empty there.
    last = RECIPE[RECIPE.rindex("\nFROM ") :]
    for variable in re.findall(r"\$\{(\w+)\}", last.partition("LABEL ")[2]):
        assert re.search(rf"^ARG {variable}\b", last, re.MULTILINE), variable


def sent_to_the_build(path: str) -> bool:
    """Tell by .dockerignore, whose last pattern that fits decides; a folder has all below it."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        places = [path, *map(str, PurePosixPath(path).parents)]
        deep = pattern.removeprefix("**/")
        if any(
            fnmatch(place, pattern) or (deep != pattern and fnmatch(Path(place).name, deep))
            for place in places
        ):
            sent = line.startswith("!")
    return sent


def test_no_environment_of_this_machine_comes_into_the_image() -> None:
    for path in (
        ".venv/lib/python3.11/site-packages/pydantic_core/_pydantic_core.cpython-311-darwin.so",
        ".venv-lowest/bin/python",
        ".venv-tools/bin/python",
        "build/product/lib/python3.11/site-packages/rich/text.py",
        "consumer/__pycache__/cli.cpython-39.pyc",
        "consumer/kafka/__pycache__/admin.cpython-39.pyc",
        "conversation_consumer.egg-info/PKG-INFO",
        ".git/config",
        "tests/conftest.py",
    ):
        assert not sent_to_the_build(path), path
    for path in ("consumer/cli.py", "deploy/bin/consumer", "pyproject.toml", "constraints.txt"):
        assert sent_to_the_build(path), path


def test_the_image_holds_the_license_that_every_copy_must_have() -> None:
    assert re.search(r"^COPY LICENSE /opt/consumer/", RECIPE, re.MULTILINE)
    assert sent_to_the_build("LICENSE")


def test_an_audit_of_packages_fails_where_one_could_not_be_looked_up() -> None:
    make = (ROOT / "Makefile").read_text("utf-8")
    (command,) = re.findall(r"pip-audit .*", make)
    assert "--strict" in command


def asked(path: str, port: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run what the image's HEALTHCHECK runs."""
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / "bin" / "consumer-health", path],
        env={"CONSUMER_HTTP__PORT": port, **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_container_is_as_healthy_as_its_consumer_says() -> None:
    health, metrics = Health(), Metrics()
    status = StatusReader(Settings(), health, metrics, RecentIncidents())
    health.not_ready("kafka", "gone")
    with serve(HttpSettings(host="127.0.0.1", port=0), health, metrics, status) as server:
        assert server is not None
        port = str(server.port)
        assert asked("livez", port).returncode == 0
        # Docker hands the proxy of its own configuration to every container.
        assert asked("livez", port, http_proxy="http://127.0.0.1:9").returncode == 0
        unready = asked("readyz", port)
    assert unready.returncode == 1
    assert "gone" in unready.stderr
    gone = asked("livez", port)
    assert gone.returncode == 1
    assert f"no answer on port {port}" in gone.stderr


def test_where_nothing_listens_nobody_is_called_healthy() -> None:
    assert asked("livez", "").returncode == 1
