"""The status page: complete without its script, and nothing in it is markup but its own."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import pytest

from consumer.commands.status import GroupStatus, _table
from consumer.contract.record import TopicPartition
from consumer.observability.instance_status import as_document
from consumer.observability.status_page import FOLDER, FORMATS, render_page
from tests.fakes.instance import Instance, instance_in_trouble
from tests.unit.commands.test_status_shown import partition

ROOT = Path(__file__).parents[3]
HOSTILE = "</span></template><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;\""
FILES = ["status_page.css", "status_page.html", "status_page.js", "status_page.svg"]


class Tags(HTMLParser):
    """The start tags of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def rendered(instance: Instance) -> str:
    return render_page(as_document(instance.status())).decode()


def words(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Tags(page).text))


def test_without_script_it_is_a_snapshot_of_everything() -> None:
    page = rendered(instance_in_trouble())
    assert "data-" not in page
    shown = words(page)
    for text in (
        "conversation-consumer", "not ready", "snapshot", "60,315",
        "MongoDB: NetworkTimeout: db:27017: timed out, attempt 7",
        "no answer", "held", "6 days, 23:59:56", "120", "undecodable 3", "invalid 412",
        "2026-03-04 09:59:26 warning retrying \u00d7 7 since 09:59:20",
        "mongo.uri *** ", "kafka.group_id conversation-consumer",
        "mongo.retention_days not set",
    ):  # fmt: skip
        assert text in shown


def test_of_what_is_not_there_it_says_so() -> None:
    shown = words(rendered(Instance()))
    assert "None is assigned to this instance." in shown
    assert "None since the start." in shown
    assert "None of level WARNING or above since 2026-03-04 09:48:30 UTC." in shown
    assert "Lag ? Rate ? Behind - Left -" in shown


def test_a_stuck_event_loop_is_told_above_all_numbers() -> None:
    instance = Instance()
    instance.read_all()
    instance.now += 75
    shown = words(rendered(instance))
    assert "The event loop has been stuck for 0:01:15 ." in shown
    assert "A restart helps." in shown


@pytest.mark.reliability("F99")
def test_whatever_is_in_the_document_is_text_and_no_markup() -> None:
    plain, hostile = instance_in_trouble(), instance_in_trouble()
    for instance, text in ((plain, "harmless"), (hostile, HOSTILE)):
        instance.health.not_ready(text, text)
        instance.log("error", text, detail=text, **{text: text})
        instance.metrics.assigned([TopicPartition(text, 0)])
    assert Tags(rendered(hostile)).tags == Tags(rendered(plain)).tags
    assert HOSTILE in "".join(Tags(rendered(hostile)).text)


def test_a_class_comes_from_the_closed_sets_of_states_and_levels_alone() -> None:
    template = (FOLDER / "status_page.html").read_text("utf-8")
    assert set(re.findall(r'data-class="(\w+)"', template)) == {"state", "level"}
    assert set(re.findall(r'data-as="(\w+)"', template)) <= set(FORMATS)


def test_nothing_is_loaded_from_elsewhere_and_no_script_or_style_stands_in_the_page() -> None:
    tags = Tags(rendered(instance_in_trouble())).tags
    sources = [attrs.get("src") or attrs.get("href") for _, attrs in tags]
    assert set(filter(None, sources)) == {"status_page.css", "status_page.js", "status_page.svg"}
    names = {name for _, attrs in tags for name in attrs}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    assert [attrs for tag, attrs in tags if tag in {"script", "style"}] == [
        {"src": "status_page.js", "defer": "defer"}
    ]
    for file in ("status_page.css", "status_page.js"):
        text = (FOLDER / file).read_text("utf-8")
        assert not re.search(r"url\(|@import|https?:|innerHTML|insertAdjacent|eval\(", text)


def test_its_columns_are_named_as_those_of_the_status_command() -> None:
    template = (FOLDER / "status_page.html").read_text("utf-8")
    columns = re.findall(r'<th scope="col">([^<]+)</th>', template)
    group = GroupStatus("", "g", True, "Stable", 1, 0, None, None, [partition(0)])
    (table,) = (part for part in _table(group).renderables if hasattr(part, "columns"))  # type: ignore[union-attr]
    assert set(columns) - {str(column.header) for column in table.columns} == {"state", "rate"}


@pytest.mark.parametrize("name", FILES)
def test_its_files_are_data_of_the_package(name: str) -> None:
    assert (FOLDER / name).is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    data = project["tool"]["setuptools"]["package-data"]["consumer"]
    assert any(fnmatch(f"observability/{name}", pattern) for pattern in data)


def test_a_page_of_many_partitions_is_whole() -> None:
    instance = Instance()
    instance.metrics.assigned([TopicPartition("t", number) for number in range(300)])
    document = as_document(instance.status())
    assert len(json.loads(json.dumps(document))["partitions"]) == 300
    assert rendered(instance).count('<th scope="row"><span>t</span>') == 300
