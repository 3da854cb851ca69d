"""Whether what the consumers say adds up: every record settled, each in one outcome."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from consumer.contract.record import TopicPartition
from consumer.state.outcomes import Outcome
from tests.e2e.processes import Service

Intervals = Mapping[TopicPartition, Sequence[tuple[int, int]]]


def account_problems(services: Iterable[Service]) -> list[str]:
    """Return where a service's counts do not add up to the records it says it settled."""
    found = []
    for service in services:
        for line in service.said("batch_settled"):
            outcomes = sum(line.get(outcome.value, 0) for outcome in Outcome)
            offsets = sum(end - first for first, end in line["offsets"].values())
            if not line["records"] == outcomes == offsets:
                found.append(f"{service.name}: {line}")
    return found


async def metrics_problems(service: Service) -> list[str]:
    """Return where a service's metrics tell another story than its log, partition by partition."""
    logged: Counter[TopicPartition] = Counter()
    for span in service.spans():
        logged[span.partition] += span.end - span.first
    counted = await service.counted()
    totals = {partition: outcomes.total() for partition, outcomes in counted.items()}
    found = [
        f"{service.name}: {partition}: {totals.get(partition, 0)} counted, {number} logged"
        for partition, number in logged.items()
        if totals.get(partition, 0) != number
    ]
    outcomes = sum(counted.values(), Counter[str]())
    if outcomes != service.outcomes():
        found.append(f"{service.name}: {outcomes} counted, {service.outcomes()} logged")
    return found


def settled_spans(services: Iterable[Service]) -> Intervals:
    """What the services settled together, by partition, in the order of offsets."""
    spans: defaultdict[TopicPartition, list[tuple[int, int]]] = defaultdict(list)
    for service in services:
        for span in service.spans():
            spans[span.partition].append((span.first, span.end))
    return {partition: sorted(parts) for partition, parts in spans.items()}


def coverage_problems(spans: Intervals, ends: Mapping[TopicPartition, int]) -> list[str]:
    """Return what nobody settled of the partitions, from their beginnings to ``ends``."""
    found = []
    for partition, end in ends.items():
        reached = 0
        for first, behind in spans.get(partition, ()):
            if first > reached:
                found.append(f"{partition}: nobody settled {reached} to {first - 1}")
            reached = max(reached, behind)
        if reached < end:
            found.append(f"{partition}: nobody settled {reached} to {end - 1}")
    return found


def repeated(spans: Intervals) -> int:
    """Return how many settlements were of records that had been settled before."""
    times = 0
    for parts in spans.values():
        reached = 0
        for first, behind in parts:
            times += max(0, min(reached, behind) - first)
            reached = max(reached, behind)
    return times
