"""``opentelemetry-instrument consumer run``: what a collector receives, with either driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from consumer.errors import ExitCode
from consumer.settings.values import Driver
from tests.builders import created, event
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet

INSTRUMENT = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
"""What the script ``opentelemetry-instrument`` does."""

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Collector:
    """Takes what exporters send by OTLP over HTTP."""

    address: str = ""
    bodies: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


@pytest.mark.real_kafka
@pytest.mark.parametrize("driver", Driver)
async def test_the_commands_of_a_batch_are_children_of_its_span_with_either_driver(
    environment: Environment, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, driver: Driver
) -> None:
    header = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode())
    said = [created("who-it-was"), event("who-it-was", "which-one", payload={"text": "what"})]
    await environment.send(environment.record_of(one)._replace(headers=(header,)) for one in said)
    with collecting() as collector:
        for name, value in {
            "TRACES_EXPORTER": "otlp",
            "METRICS_EXPORTER": "none",
            "LOGS_EXPORTER": "none",
            "EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "EXPORTER_OTLP_ENDPOINT": collector.address,
        }.items():
            monkeypatch.setenv(f"OTEL_{name}", value)
        service = await fleet.launch(
            *("-c", INSTRUMENT, sys.executable, "-m", "consumer", "run", "--exit-when-caught-up"),
            settings={"tracing.enabled": True, "mongo.driver": driver},
        )
        assert await fleet.ended(service) == ExitCode.DONE
    batches = [span for span in collector.spans if span.name.startswith("process")]
    linked = {(link.trace_id.hex(), link.span_id.hex()) for span in batches for link in span.links}
    assert linked == {(TRACE_ID, SPAN_ID)}
    of_batches = {span.span_id for span in batches}
    children = {span.name for span in collector.spans if span.parent_span_id in of_batches}
    assert children >= {f"{environment.name}.insert", f"{environment.name}.update"}
    for word in (b"who-it-was", b"which-one"):
        assert not any(word in body for body in collector.bodies)
