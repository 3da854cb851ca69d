"""The image's recipe and what the README types, as far as they can be tried without Docker."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from consumer.settings.sources import load_settings

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def install(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the step that puts the packages into the image, below ``directory``."""
    (step,) = re.findall(r"^RUN (mkdir -p /opt/consumer(?:.*\\\n)*.*)$", RECIPE, re.MULTILINE)
    script = step.replace("/opt/consumer", str(directory / "opt"))
    return subprocess.run(
        ["/bin/sh", "-ec", script], cwd=directory, check=False, capture_output=True, text=True
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
