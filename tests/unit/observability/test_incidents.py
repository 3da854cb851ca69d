"""Which events of the log the status page remembers, and how many."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from consumer.observability.incidents import (
    LONGEST_FACT,
    MOST_FACTS,
    MOST_INCIDENTS,
    Incident,
    IncidentFact,
    RecentIncidents,
)
from consumer.observability.logs import configure_logging, get_logger
from consumer.settings.model import MongoSettings, Settings


def event(name: str, level: str = "warning", at: str = "1", **facts: object) -> dict[str, object]:
    return {"timestamp": at, "level": level, "event": name, **facts}


def test_warnings_and_worse_are_remembered_the_latest_first() -> None:
    incidents = RecentIncidents()
    for level in ("debug", "info", "warning", "error", "critical"):
        incidents.add(event(f"an_{level}", level))
    assert [one.event for one in incidents.latest()] == ["an_critical", "an_error", "an_warning"]


def test_what_repeats_is_one_incident_with_the_facts_of_the_last() -> None:
    incidents = RecentIncidents()
    incidents.add(event("retrying", at="1", stage="apply", attempt=1))
    incidents.add(event("retrying", at="2", stage="commit", attempt=1))
    incidents.add(event("retrying", at="3", stage="apply", attempt=2, repeated=4))
    assert incidents.latest() == [
        Incident(
            "warning", "retrying", "1", "3", 6,
            (IncidentFact("stage", "apply"), IncidentFact("attempt", "2")),
        ),
        Incident(
            "warning", "retrying", None, "2", 1,
            (IncidentFact("stage", "commit"), IncidentFact("attempt", "1")),
        ),
    ]  # fmt: skip


def test_memory_does_not_grow_with_them() -> None:
    incidents = RecentIncidents()
    facts = {f"fact_{number}": "x" * 10_000 for number in range(100)}
    for number in range(MOST_INCIDENTS * 3):
        incidents.add(event(f"event_{number}", at="1", **facts))
    kept = incidents.latest()
    assert kept[0].event == f"event_{MOST_INCIDENTS * 3 - 1}"
    assert len(kept) == MOST_INCIDENTS
    assert {len(one.facts) for one in kept} == {MOST_FACTS}
    assert {len(fact.value) for one in kept for fact in one.facts} == {LONGEST_FACT + 1}


@pytest.fixture
def incidents() -> Iterator[RecentIncidents]:
    """What a process remembers whose log is set up as that of a run is."""
    incidents = RecentIncidents()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    uri = "mongodb://user:hunter22@db/?authSource=admin"
    settings = Settings(mongo=MongoSettings(uri=SecretStr(uri)))
    writer = configure_logging(settings, descriptor=nowhere, incidents=incidents)
    yield incidents
    os.close(nowhere)
    assert writer.flush(10)


@pytest.mark.reliability("F99")
def test_they_are_cleaned_as_the_log_is_and_hold_no_payload(incidents: RecentIncidents) -> None:
    said = "what somebody said"
    try:
        raise ValueError(said)
    except ValueError:
        get_logger().error("died", exc_info=True, value=said.encode(), password="x")
    logging.getLogger("pymongo").warning("no answer from mongodb://user:hunter22@db/")
    get_logger().info("settled", records=1)
    kept = json.dumps([[(fact.name, fact.value) for fact in i.facts] for i in incidents.latest()])
    assert said not in kept
    assert "hunter22" not in kept + str(incidents.latest())
    assert [one.event for one in incidents.latest()] == [
        "no answer from mongodb://***@db/",
        "died",
    ]
    died = {fact.name: fact.value for fact in incidents.latest()[1].facts}
    assert died == {
        "failure": "ValueError: (message withheld: it may quote data)",
        "value": "<bytes>",
        "password": "***",
    }
