"""What must hold in the end, in the manner of Jepsen: nothing lost, invented, doubled or changed.

The topics themselves say what was sent: a send that was never acknowledged may be in them. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.contract.record import Headers, Position, Record, TopicPartition, last_header
from consumer.contract.rejection import Reason
from tests.chaos.history import History, Kept
from tests.chaos.producer import NUMBER, SendLog
from tests.e2e.bookkeeping import account_problems, coverage_problems
from tests.e2e.processes import Service
from tests.model import Document, Sent, accounted_for, problems

SHOWN = 20


@dataclass(slots=True)
class Verdict:
    """Counts, and everything that is wrong, by kind."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not any(self.problems.values())

    def add(self, kind: str, found: Iterable[str]) -> None:
        """Note problems of a kind, also that there are none."""
        self.problems.setdefault(kind, []).extend(found)


def number_of(headers: Headers) -> int | None:
    """Return which send a record, or a dead letter of it, comes from."""
    written = last_header(headers, NUMBER)
    return None if written is None else int(written)


def sent_records(log: SendLog, records: Iterable[Record], history: History) -> list[Sent]:
    """Return what lies in the topics, and what did, with what its sender knows of it."""
    there = [Kept(record, history.log(record.topic), surely_read=True) for record in records]
    found = []
    for kept in [*history.records, *there]:
        record = kept.record
        number = number_of(record.headers)
        assert number is not None, record.position
        says = log.sent[number].says
        found.append(
            Sent(record.position, record.timestamp_ms, says, kept.log, surely_read=kept.surely_read)
        )
    return found


def broker_problems(log: SendLog, records: Iterable[Record]) -> list[str]:
    """Return what the brokers acknowledged and do not have: no fault of the consumer's."""
    there = {(number_of(record.headers), record.position) for record in records}
    return [
        f"{position}: acknowledged, and not in the topic"
        for number, position in log.acknowledged.items()
        if (number, position) not in there
    ]


def check_documents(
    verdict: Verdict,
    sent: Sequence[Sent],
    documents: tuple[list[Document], list[Document]],
    letters: Sequence[tuple[Position, Reason]],
) -> None:
    """Compare what is stored and dead-lettered with what the records allow."""
    sessions, events = documents
    verdict.add("lost, invented, doubled or changed", problems(sent, sessions, events, letters))
    verdict.counts |= {
        "records": len(sent),
        "sessions": len(sessions),
        "events": len(events),
        "dead letters": len(letters),
        "dead letters sent more than once": len(letters) - len(set(letters)),
    }


def check_gaps(
    verdict: Verdict,
    history: History,
    services: Sequence[Service],
    sent: Sequence[Sent],
    documents: tuple[list[Document], list[Document]],
    letters: Sequence[tuple[Position, Reason]],
) -> None:
    """Compare what the consumers say was deleted unread with what was."""
    sessions: dict[str, Document] = {one["sessionId"]: one for one in documents[0]}
    events: dict[tuple[str, ...], Document] = {
        (one["sessionId"], one["eventId"]): one for one in documents[1]
    }
    reasons = defaultdict[Position, set[Reason]](set)
    for position, reason in letters:
        reasons[position].add(reason)

    def is_accounted_for(one: Sent) -> bool:
        return accounted_for(one, sessions.get, events.get, reasons[one.position])

    verdict.add("gaps", history.gap_problems(services, sent, is_accounted_for))
    lost = [one for one in sent if not one.surely_read and not is_accounted_for(one)]
    verdict.counts |= {
        "records deleted": len(history.records),
        "records deleted unread": len(lost),
        "topics made again": sum(history.log(topic) for topic in {o.position.topic for o in sent}),
        "dead letters expired": len(history.letters),
    }


def check_accounts(
    verdict: Verdict,
    services: Sequence[Service],
    ends: Mapping[TopicPartition, int],
    history: History,
) -> None:
    """Compare what the consumers say they settled with what there was."""
    verdict.add("outcomes that do not add up", account_problems(services))
    verdict.add("settled by nobody", coverage_problems(history.settled(services), ends))
    verdict.add("complaints in the logs", complaints(services))
    outcomes = sum((service.outcomes() for service in services), Counter[str]())
    verdict.counts |= {f"outcomes: {name}": count for name, count in sorted(outcomes.items())}
    verdict.counts["settled"] = outcomes.total()
    abandoned = sum(line["records"] for one in services for line in one.said("batch_abandoned"))
    verdict.counts["abandoned"] = abandoned


def complaints(services: Iterable[Service]) -> list[str]:
    """Return what no consumer should ever say: defects, and what is not a line of its log."""
    found = []
    for service in services:
        found += [f"{service.name}: {words}" for words in service.words]
        for line in service.lines:
            odd = line["event"] == "died" or line.get("end") == "error"
            odd = odd or line.get("logger") in {"asyncio", "py.warnings"}
            if odd:
                found.append(f"{service.name}: {line}")
    return found
