"""A real Prometheus beside an instance: it scrapes it, and every panel shows something."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from consumer.errors import TransientError
from consumer.observability.http_server import serve
from consumer.observability.observer import EngineObserver
from consumer.ports import Stage
from consumer.settings.model import HttpSettings, KafkaSettings
from tests.e2e.processes import LOOPBACK, free_port
from tests.fakes.instance import Instance, instance_in_trouble
from tests.servers.control import wait_until
from tests.unit.deploy.promql import RULES, dashboard_queries

SERVER = shutil.which("prometheus")

pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="prometheus is not found"),
    pytest.mark.slow,
]

Ask = Callable[[str], Any]


@pytest.fixture
def instance() -> Instance:
    return instance_in_trouble()


@pytest.fixture
def ask(instance: Instance, tmp_path: Path) -> Iterator[Ask]:
    """Put a question to the API of a Prometheus that scrapes the instance every second."""
    assert SERVER is not None
    http = HttpSettings(host=LOOPBACK, port=0)
    with serve(http, instance.health, instance.metrics, instance.reader) as port:
        assert port is not None
        targets = [{"targets": [f"{LOOPBACK}:{port.port}"]}]
        configured = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "consumer", "static_configs": targets}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(configured))  # which is YAML, too
        address = f"{LOOPBACK}:{free_port()}"
        process = subprocess.Popen(
            [
                SERVER, f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}",
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

        def asked(path: str) -> Any:
            try:
                with urlopen(f"http://{address}/api/v1/{path}", timeout=5) as answer:
                    return json.load(answer)["data"]
            except (URLError, ConnectionError):
                return {"result": [], "alerts": []}  # it has not begun yet

        try:
            yield asked
        finally:
            process.terminate()
            process.wait()


def test_every_panel_shows_something_and_the_alerts_tell_what_is_wrong(
    instance: Instance, ask: Ask
) -> None:
    lost = TransientError("NetworkTimeout", "db:27017: timed out")
    observer = EngineObserver(instance.metrics, instance.health, KafkaSettings())
    observer.retrying(Stage.APPLY, lost, 1, 0.1)
    empty = set(dashboard_queries())

    def shown() -> bool:
        empty.difference_update(
            [query for query in empty if ask(f"query?query={quote(query)}")["result"]]
        )
        return not empty

    wait_until(shown, f"panels without any series: {empty}")
    wrong = {"ConsumerMongoDBDown", "ConsumerPartitionHeld", "ConsumerRecordsLost"}

    def told() -> set[str]:
        return {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"]}

    wait_until(lambda: told() == wrong, f"alerts other than {wrong}")
