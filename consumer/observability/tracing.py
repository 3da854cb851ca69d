"""A span of OpenTelemetry for each batch, linked to the spans in which its records were published.

Loaded only where ``tracing.enabled`` is true; nothing else imports OpenTelemetry. Attributes are
those of its conventions for messaging, and counts under ``conversation_consumer``: never keys,
values or ids of records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from consumer import __version__
from consumer.contract.encode import TRACEPARENT
from consumer.contract.record import Records, TopicPartition, last_header
from consumer.errors import SettingsError, TransientError
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.ports import BatchReport, Hold, Stage
from consumer.settings.model import KafkaSettings
from consumer.state.outcomes import Outcome

MAX_LINKS = 128
"""The most links of one span: what OpenTelemetry's SDK keeps unless it is told otherwise."""

OWN = "conversation_consumer"
"""What the names of attributes begin with that OpenTelemetry has no convention for."""

_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Traced:
    """The span of the batch that runs in this context, and what adds up on it."""

    span: Span
    token: Token[Context]
    retries: int = 0
    abandoned: int = 0
    held: int = 0


_TRACED: ContextVar[_Traced | None] = ContextVar("traced_batch", default=None)


def open_tracing(kafka: KafkaSettings, metrics: Metrics, health: Health) -> TracingObserver:
    """Return an observer whose spans go to the process's tracer provider.

    Raises ``SettingsError`` where there is none: every span would be lost.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        raise SettingsError(
            "tracing.enabled is true, and the process has no tracer provider: start it with "
            "opentelemetry-instrument consumer run (docs/tracing.md)"
        )
    return TracingObserver(metrics, health, kafka, provider.get_tracer("consumer", __version__))


class TracingObserver(EngineObserver):
    """Makes a span of each batch, beside log lines, metrics and health."""

    def __init__(
        self, metrics: Metrics, health: Health, kafka: KafkaSettings, tracer: Tracer
    ) -> None:
        """``kafka`` names the group, the client and the brokers."""
        super().__init__(metrics, health, kafka)
        self._tracer = tracer
        self._common: Mapping[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": kafka.group_id,
            "messaging.client.id": kafka.client_id or kafka.group_id,
        }

    def batch_started(self, records: Records) -> None:
        """See ``Observer``: MongoDB's commands of this context are the span's children."""
        name, attributes = "process", dict(self._common)
        attributes["messaging.batch.message_count"] = sum(map(len, records.values()))
        # Only what is true of every record of the batch is named.
        if len({partition.topic for partition in records}) == 1:
            topic = next(iter(records)).topic
            name = f"process {topic}"
            attributes["messaging.destination.name"] = topic
        if len(records) == 1:
            partition = next(iter(records)).partition
            attributes["messaging.destination.partition.id"] = str(partition)
        links, left_out = links_of(records)
        attributes[f"{OWN}.links_left_out"] = left_out
        span = self._tracer.start_span(
            name, kind=SpanKind.CONSUMER, attributes=attributes, links=links
        )
        _TRACED.set(_Traced(span, context.attach(trace.set_span_in_context(span))))

    def batch_ended(self, error: BaseException | None) -> None:
        """See ``Observer``. The error's type alone: its text may quote data."""
        traced = _TRACED.get()
        if traced is None:
            return
        for name in ("retries", "abandoned", "held"):
            if count := getattr(traced, name):
                traced.span.set_attribute(f"{OWN}.{name}", count)
        if error is not None:
            _fail(traced.span, type(error).__name__)
        traced.span.end()
        context.detach(traced.token)
        _TRACED.set(None)

    def settled(self, report: BatchReport) -> None:
        """See ``Observer``: a count of each outcome."""
        super().settled(report)
        if traced := _TRACED.get():
            outcomes = Counter({Outcome.DEAD_LETTERED: 0})
            for part in report.partitions.values():
                outcomes.update(part.outcomes)
            for outcome, count in outcomes.items():
                traced.span.set_attribute(f"{OWN}.{outcome.value}", count)

    def abandoned(self, partition: TopicPartition, records: int) -> None:
        """See ``Observer``."""
        super().abandoned(partition, records)
        if traced := _TRACED.get():
            traced.abandoned += records

    def held(self, partition: TopicPartition, hold: Hold, records: int) -> None:
        """See ``Observer``: nothing of that partition was settled."""
        super().held(partition, hold, records)
        if traced := _TRACED.get():
            traced.held += records
            _fail(traced.span, "held")

    def retrying(
        self,
        stage: Stage,
        error: TransientError,
        attempt: int,
        delay: float,
        partitions: Collection[TopicPartition] = (),
    ) -> None:
        """See ``Observer``: the span stays an error, so that retried batches can be looked for."""
        super().retrying(stage, error, attempt, delay, partitions)
        if traced := _TRACED.get():
            traced.retries += 1
            _fail(traced.span, error.cause, f"{stage.value}: {error.cause}")
            traced.span.add_event(
                "retry",
                {
                    f"{OWN}.stage": stage.value,
                    f"{OWN}.attempt": attempt,
                    f"{OWN}.delay": delay,
                    "error.type": error.cause,
                },
            )


def links_of(records: Records) -> tuple[list[Link], int]:
    """Return a link for each of the first ``MAX_LINKS`` spans that published the records.

    And how many other ``traceparent`` values there are; those are not looked at.
    """
    told = dict.fromkeys(
        value
        for part in records.values()
        for record in part
        if (value := last_header(record.headers, TRACEPARENT)) is not None
    )
    links: list[Link] = []
    for seen, value in enumerate(told):
        if len(links) == MAX_LINKS:
            return links, len(told) - seen
        carrier = {TRACEPARENT: value.decode("ascii", "replace")}
        extracted = _PROPAGATOR.extract(carrier, context=Context())
        published = trace.get_current_span(extracted).get_span_context()
        if published.is_valid:
            links.append(Link(published))
    return links, 0


def _fail(span: Span, kind: str, description: str | None = None) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, description or kind))
