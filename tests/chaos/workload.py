"""Conversations without end, with the faults that producers have, the same for the same seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from consumer.contract.rejection import Reason
from producer_tools.conversations import conversation
from producer_tools.generate import spoil
from producer_tools.outgoing_message import Outgoing, encode_message

TALKING = 40
MOST_EVENTS = 60
RECENT = 400

LATE = 0.05
REPEATED = 0.04
CONTRADICTED = 0.01
MALFORMED = 0.01


@dataclass(frozen=True, slots=True)
class Said:
    """What is sent, and what its sender knows of it: the message, or why it is none."""

    outgoing: Outgoing
    says: Mapping[str, Any] | Reason


def workload(seed: int) -> Iterator[Said]:
    """Yield without end what the sessions of many callers say.

    Some messages come late, some again, some contradict an earlier one, some are malformed.
    """
    random = Random(f"{seed}/faults")
    recent: deque[Mapping[str, Any]] = deque(maxlen=RECENT)
    held: deque[Mapping[str, Any]] = deque()
    for message in _interleaved(seed):
        if random.random() < LATE:
            held.append(message)
            if len(held) < RECENT // 4:
                continue
            message = held.popleft()  # noqa: PLW2901 -- the late one goes in its place
        recent.append(message)
        yield _said(message)
        draw = random.random()
        if draw < REPEATED:
            yield _said(random.choice(recent))
        elif draw < REPEATED + CONTRADICTED:
            yield _said(_contradicting(random.choice(recent)))
        elif draw < REPEATED + CONTRADICTED + MALFORMED:
            reason, outgoing = spoil(random, random.choice(recent))
            yield Said(outgoing, reason)


def _said(message: Mapping[str, Any]) -> Said:
    return Said(encode_message(message), message)


def _contradicting(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message for the same place that says something else."""
    match message["type"]:
        case "event.recorded":
            return {**message, "payload": {"text": "something else"}}
        case "session.created":
            return {**message, "language": "x-other"}
        case "session.completed":
            other = {name: message[name] for name in ("sessionId", "endedAt")}
            return {"type": "session.failed", **other, "reason": "something else"}
        case _:
            other = {name: message[name] for name in ("sessionId", "endedAt")}
            return {"type": "session.completed", **other}


def _interleaved(seed: int) -> Iterator[Mapping[str, Any]]:
    random = Random(f"{seed}/conversations")
    talking: list[Iterator[Mapping[str, Any]]] = []
    while True:
        while len(talking) < TALKING:
            own = Random(random.getrandbits(64))
            talking.append(conversation(own, random.randint(0, MOST_EVENTS)))
        place = random.randrange(TALKING)
        message = next(talking[place], None)
        if message is None:
            del talking[place]
        else:
            yield message
