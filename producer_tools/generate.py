"""A made-up stream of messages with the faults that real ones have, the same for the same seed.

Each fault draws from randomness of its own, so that asking for another one leaves the
conversations, and the faults there were, as they are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from consumer.contract.encode import encode_json
from consumer.contract.kinds import known_kinds
from consumer.contract.rejection import Reason
from producer_tools.conversations import Message, conversation, event_count
from producer_tools.outgoing_message import EndState, Outgoing, encode_message

_SIDE_BY_SIDE = 50
"""How many sessions are going on at any one time."""


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """What to generate. Shares are of the well-formed messages, 0 to 1."""

    seed: int = 1
    sessions: int = 100
    events_per_session: int = 10
    duplicates: float = 0.0
    disorder: float = 0.0
    window: int = 100
    """By how many places at most a message is moved, or how much later it is repeated."""
    malformed: float = 0.0


def generate_messages(plan: GenerationPlan, state: EndState) -> Iterator[Outgoing]:
    """Yield what ``plan`` asks for, counting it in ``state``, in memory that does not grow."""
    random = _random(plan, "malformed")
    for message, repeated in _disturbed(plan, _interleaved(plan)):
        if random.random() < plan.malformed:
            reason, outgoing = spoil(random, message)
            state.add_malformed(reason)
            yield outgoing
        state.add(message, repeated=repeated)
        yield encode_message(message)


def _random(plan: GenerationPlan, purpose: str) -> Random:
    return Random(f"{plan.seed}/{purpose}")  # noqa: S311 -- test data, no secret


def _interleaved(plan: GenerationPlan) -> Iterator[Message]:
    """Yield the messages of all sessions, as they come from callers who talk at the same time."""
    random = _random(plan, "interleaving")
    waiting = _conversations(plan)
    talking: list[Iterator[Message]] = []
    while True:
        while len(talking) < _SIDE_BY_SIDE and (following := next(waiting, None)) is not None:
            talking.append(following)
        if not talking:
            return
        place = random.randrange(len(talking))
        message = next(talking[place], None)
        if message is None:
            talking[place] = talking[-1]
            talking.pop()
        else:
            yield message


def _conversations(plan: GenerationPlan) -> Iterator[Iterator[Message]]:
    random = _random(plan, "conversations")
    for _ in range(plan.sessions):
        events = event_count(random, plan.events_per_session)
        # A session of its own randomness says the same whoever else is talking.
        yield conversation(Random(random.getrandbits(64)), events)  # noqa: S311 -- no secret


def _disturbed(plan: GenerationPlan, messages: Iterable[Message]) -> Iterator[tuple[Message, bool]]:
    """Yield the messages with some moved to a later place and some repeated there (True)."""
    disorder, duplicates = _random(plan, "disorder"), _random(plan, "duplicates")
    held: list[tuple[int, int, Message, bool]] = []
    for place, message in enumerate(messages):
        delay = disorder.randint(1, plan.window) if disorder.random() < plan.disorder else 0
        heapq.heappush(held, (place + delay, 2 * place, message, False))
        if duplicates.random() < plan.duplicates:
            later = place + delay + duplicates.randint(1, plan.window)
            heapq.heappush(held, (later, 2 * place + 1, message, True))
        while held and held[0][0] <= place:
            yield heapq.heappop(held)[2:]
    while held:
        yield heapq.heappop(held)[2:]


Flaw = Callable[[Message], bytes]


def _with(**fields: object) -> Flaw:
    return lambda message: encode_json({**message, **fields})


def _closed_by(ending: bytes) -> Flaw:
    return lambda message: encode_json(message)[:-1] + ending


def _without_session(message: Message) -> bytes:
    return encode_json({name: value for name, value in message.items() if name != "sessionId"})


def _time_without_seconds(message: Message) -> bytes:
    field = {"event.recorded": "timestamp", "session.created": "startedAt"}
    return _with(**{field.get(str(message["type"]), "endedAt"): "2026-01-01T12:30Z"})(message)


def _of_a_later_version(message: Message) -> bytes:
    return _with(schemaVersion=known_kinds()[str(message["type"])].newest_version + 1)(message)


FLAWS: Final[tuple[tuple[Reason, Flaw], ...]] = (
    (Reason.UNDECODABLE, _closed_by(b"")),
    (Reason.UNDECODABLE, lambda _: b"[object Object]"),
    (Reason.UNDECODABLE, lambda message: encode_json([message])),
    (Reason.UNDECODABLE, _closed_by(b',"note":"caf\xe9"}')),
    (Reason.UNDECODABLE, _closed_by(b',"score":NaN}')),
    (Reason.INVALID, _without_session),
    (Reason.INVALID, _with(sessionId=12345)),
    (Reason.INVALID, _with(sessionId="")),
    (Reason.INVALID, _time_without_seconds),
    (Reason.UNSUPPORTED_TYPE, _with(type="session.archived")),
    (Reason.UNSUPPORTED_VERSION, _of_a_later_version),
)
"""What no consumer can apply, each with the reason it must be refused for."""


def spoil(random: Random, message: Message) -> tuple[Reason, Outgoing]:
    """Return the reason, and a copy of ``message`` that is refused for it, under the same key."""
    reason, flaw = random.choice(FLAWS)
    return reason, encode_message(message)._replace(value=flaw(message))
