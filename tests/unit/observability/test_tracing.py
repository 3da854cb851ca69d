"""What of a batch becomes a span, to what it is linked, and what it costs where tracing is off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from consumer.app import build_observer
from consumer.contract.record import Record, TopicPartition
from consumer.errors import PreconditionError, SettingsError, TransientError
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.observability.tracing import MAX_LINKS, TracingObserver, links_of
from consumer.ports import Observer, Polled, Stage
from consumer.settings.model import KafkaSettings, Settings, TracingSettings
from tests import builders
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import BAD, OUTAGE, P0, P1, Engine, brought, records

SESSION = TopicPartition(builders.SESSIONS, 0)
TRACED = Settings(tracing=TracingSettings(enabled=True))


class Spans:
    """An observer whose spans are kept."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        kafka = KafkaSettings(group_id="readers", client_id="reader-1")
        self.observer = TracingObserver(Metrics(), Health(), kafka, provider.get_tracer("test"))
        _: Observer = self.observer  # what the engine asks for

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._kept.get_finished_spans()

    @property
    def only(self) -> ReadableSpan:
        (span,) = self.all
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def traceparent(number: int) -> bytes:
    return f"00-{number:032x}-{number:016x}-01".encode()


def traced(number: int, *more: tuple[str, bytes | None]) -> Record:
    return builders.record(b"good", number, headers=(("traceparent", traceparent(number)), *more))


async def run(engine: Engine, *partitions: TopicPartition, polled: Polled) -> None:
    """Let the engine take what was polled to its end."""
    engine.source.scripts.append(polled)
    await engine.start(*partitions)
    await asyncio.sleep(60.0)
    await engine.end()


@in_virtual_time
async def test_a_batch_is_one_span_with_the_attributes_of_the_conventions(spans: Spans) -> None:
    await run(Engine(told=spans.observer), P0, polled=brought(P0, 40, 3))
    assert spans.only.name == "process conversation.events"
    assert spans.only.kind is SpanKind.CONSUMER
    assert spans.only.status.status_code is StatusCode.UNSET
    assert spans.only.parent is None
    assert dict(attributes(spans.only)) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "readers",
        "messaging.client.id": "reader-1",
        "messaging.batch.message_count": 3,
        "messaging.destination.name": "conversation.events",
        "messaging.destination.partition.id": "0",
        "conversation_consumer.links_left_out": 0,
        "conversation_consumer.applied": 3,
        "conversation_consumer.dead_lettered": 0,
    }


@in_virtual_time
async def test_batches_side_by_side_are_a_span_each(spans: Spans) -> None:
    engine = Engine(told=spans.observer)
    engine.store.gate.clear()
    engine.source.scripts += [brought(P0, 0, 2), brought(P1, 0, 5)]
    await engine.start(P0, P1)
    await asyncio.sleep(1.0)
    assert spans.all == ()
    engine.store.gate.set()
    await asyncio.sleep(1.0)
    await engine.end()
    counts = {
        told["messaging.destination.partition.id"]: told["conversation_consumer.applied"]
        for told in map(attributes, spans.all)
    }
    assert counts == {"0": 2, "1": 5}


@in_virtual_time
async def test_of_a_batch_of_several_topics_none_is_named(spans: Spans) -> None:
    both = {P0: records(P0, 0), SESSION: records(SESSION, 0)}
    await run(Engine(told=spans.observer), P0, SESSION, polled=Polled(both))
    assert spans.only.name == "process"
    assert (
        attributes(spans.only)
        .keys()
        .isdisjoint({"messaging.destination.name", "messaging.destination.partition.id"})
    )


@in_virtual_time
async def test_what_is_done_for_a_batch_happens_in_its_span_and_nothing_else_does(
    spans: Spans,
) -> None:
    seen = []
    engine = Engine(told=spans.observer)
    prepare = engine.store.prepare

    def watched(writes: Any) -> Any:
        seen.append(get_current_span().get_span_context())
        return prepare(writes)

    engine.store.prepare = watched  # type: ignore[method-assign]  # looks on
    await run(engine, P0, polled=brought(P0, 0))
    assert seen == [spans.only.context]
    assert not get_current_span().get_span_context().is_valid


@in_virtual_time
async def test_a_span_is_linked_to_those_in_which_its_records_were_published(spans: Spans) -> None:
    same = [traced(1), traced(1), traced(2), builders.record(b"good", 3)]
    taken = [one._replace(offset=offset) for offset, one in enumerate(same)]
    await run(Engine(told=spans.observer), P0, polled=Polled({P0: taken}))
    assert [(link.context.trace_id, link.context.span_id) for link in spans.only.links] == [
        (1, 1),
        (2, 2),
    ]


@in_virtual_time
async def test_more_links_than_a_span_keeps_are_counted(spans: Spans) -> None:
    taken = [traced(number) for number in range(1, 91)]
    others = [traced(number)._replace(partition=1) for number in range(91, MAX_LINKS + 6)]
    await run(Engine(told=spans.observer), P0, P1, polled=Polled({P0: taken, P1: others}))
    assert len(spans.only.links) == MAX_LINKS
    assert attributes(spans.only)["conversation_consumer.links_left_out"] == 5
    assert spans.only.dropped_links == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
        b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01",
        b"x" * 100_000,
    ],
)
def test_a_header_that_names_no_span_is_no_link(value: bytes | None) -> None:
    one = builders.record(b"good", headers=(("traceparent", value),))
    assert links_of({P0: [one]}) == ([], 0)


@in_virtual_time
async def test_a_batch_that_was_retried_is_an_error_however_it_ended(spans: Spans) -> None:
    engine = Engine(told=spans.observer)
    engine.store.errors += [
        OUTAGE,
        TransientError("NetworkTimeout", "of a session that nobody shall read of"),
    ]
    await run(engine, P0, polled=brought(P0, 0, 2))
    assert spans.only.status.status_code is StatusCode.ERROR
    assert spans.only.status.description == "apply: NetworkTimeout"
    told = attributes(spans.only)
    assert told["error.type"] == "NetworkTimeout"
    assert told["conversation_consumer.retries"] == 2
    assert told["conversation_consumer.applied"] == 2
    retries = [(e.name, (e.attributes or {})["error.type"]) for e in spans.only.events]
    assert retries == [("retry", "AutoReconnect"), ("retry", "NetworkTimeout")]
    assert "nobody shall read" not in spans.only.to_json()


@in_virtual_time
async def test_dead_letters_are_counted(spans: Spans) -> None:
    both = [*records(P0, 0, 3, BAD), *records(P0, 3, 4)]
    await run(Engine(told=spans.observer), P0, polled=Polled({P0: both}))
    assert attributes(spans.only)["conversation_consumer.dead_lettered"] == 3
    assert attributes(spans.only)["conversation_consumer.applied"] == 4
    assert spans.only.status.status_code is StatusCode.UNSET


@in_virtual_time
async def test_a_batch_that_is_held_is_an_error(spans: Spans) -> None:
    engine = Engine(told=spans.observer, breaker_share=0.5)
    await run(engine, P0, polled=brought(P0, 0, 4, BAD))
    assert spans.only.status.description == "held"
    assert attributes(spans.only)["conversation_consumer.held"] == 4


@in_virtual_time
async def test_a_batch_whose_assignment_ended_says_that_it_was_abandoned(spans: Spans) -> None:
    engine = Engine(told=spans.observer)
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0, 4))
    await engine.start(P0)
    await asyncio.sleep(1.0)
    engine.runner.on_lost()
    engine.store.gate.set()
    await asyncio.sleep(1.0)
    await engine.end()
    assert attributes(spans.only)["conversation_consumer.abandoned"] == 4
    assert "conversation_consumer.applied" not in attributes(spans.only)


@in_virtual_time
async def test_a_batch_that_ends_the_process_ends_its_span_with_the_errors_type(
    spans: Spans,
) -> None:
    engine = Engine(told=spans.observer)
    engine.store.errors.append(PreconditionError("text of an error"))
    with pytest.raises(PreconditionError):
        await run(engine, P0, polled=brought(P0, 0))
    assert attributes(spans.only)["error.type"] == "PreconditionError"
    assert spans.only.status.status_code is StatusCode.ERROR
    assert "text of an error" not in spans.only.to_json()


@in_virtual_time
async def test_nothing_that_was_said_or_by_whom_is_in_a_span(spans: Spans) -> None:
    said = builders.event("who-it-was", "which-event", payload={"text": "what-was-said"})
    headers = (("traceparent", traceparent(7)), ("note", b"a-header"))
    bad = builders.record(BAD, 1, key=b"who-it-was", headers=headers)
    taken = [builders.record(said, 0, headers=headers), bad]
    await run(Engine(told=spans.observer), P0, polled=Polled({P0: taken}))
    text = spans.only.to_json()
    assert [
        word for word in ("who-it-was", "which-event", "said", "a-header") if word in text
    ] == []


def test_trouble_outside_of_a_batch_is_no_spans(spans: Spans) -> None:
    spans.observer.retrying(Stage.COMMIT, OUTAGE, 1, 0.1)
    spans.observer.batch_ended(None)
    assert spans.all == ()


# --- on and off -----------------------------------------------------------------------


def test_tracing_is_off_unless_it_is_asked_for() -> None:
    assert type(build_observer(Settings(), Metrics(), Health())) is EngineObserver


def test_tracing_without_a_provider_is_refused_and_says_how_to_start() -> None:
    with pytest.raises(SettingsError, match="opentelemetry-instrument consumer run"):
        build_observer(TRACED, Metrics(), Health())


def test_tracing_without_opentelemetry_is_refused_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "consumer.observability.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"pip install 'conversation-consumer\[otel\]'"):
        build_observer(TRACED, Metrics(), Health())


OFF = """
import sys
from consumer import app, cli
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.settings.model import Settings

app.build_observer(Settings(), Metrics(), Health())
print([name for name in sys.modules if name.partition(".")[0] == "opentelemetry"])
"""


def test_nothing_of_opentelemetry_is_loaded_where_tracing_is_off() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFF], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
