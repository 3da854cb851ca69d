"""Messages that no consumer can apply, each with the reason it must be refused for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from consumer.contract.rejection import Reason
from producer_tools.conversations import Message
from producer_tools.outgoing import Outgoing, encode_json, encode_message

Flaw = Callable[[Message], bytes]


def _with(message: Message, **fields: object) -> bytes:
    return encode_json({**message, **fields})


def _cut_short(message: Message) -> bytes:
    return encode_json(message)[:-1]


def _not_serialized(_: Message) -> bytes:
    return b"[object Object]"


def _in_an_array(message: Message) -> bytes:
    return encode_json([message])


def _not_utf_8(message: Message) -> bytes:
    return encode_json(message)[:-1] + b',"note":"caf\xe9"}'


def _not_a_number(message: Message) -> bytes:
    return encode_json(message)[:-1] + b',"score":NaN}'


def _without_session(message: Message) -> bytes:
    return encode_json({name: value for name, value in message.items() if name != "sessionId"})


def _numeric_session(message: Message) -> bytes:
    return _with(message, sessionId=12345)


def _empty_session(message: Message) -> bytes:
    return _with(message, sessionId="")


def _times_without_seconds(message: Message) -> bytes:
    field = {"event.recorded": "timestamp", "session.created": "startedAt"}
    return _with(message, **{field.get(str(message["type"]), "endedAt"): "2026-01-01T12:30Z"})


def _unknown_type(message: Message) -> bytes:
    return _with(message, type="session.archived")


def _later_version(message: Message) -> bytes:
    return _with(message, schemaVersion=2)


FLAWS: Final[tuple[tuple[Reason, Flaw], ...]] = (
    (Reason.UNDECODABLE, _cut_short),
    (Reason.UNDECODABLE, _not_serialized),
    (Reason.UNDECODABLE, _in_an_array),
    (Reason.UNDECODABLE, _not_utf_8),
    (Reason.UNDECODABLE, _not_a_number),
    (Reason.INVALID, _without_session),
    (Reason.INVALID, _numeric_session),
    (Reason.INVALID, _empty_session),
    (Reason.INVALID, _times_without_seconds),
    (Reason.UNSUPPORTED_TYPE, _unknown_type),
    (Reason.UNSUPPORTED_VERSION, _later_version),
)


def spoil(random: Random, message: Message) -> tuple[Reason, Outgoing]:
    """Return the reason, and a copy of ``message`` that is refused for it, under the same key."""
    reason, flaw = random.choice(FLAWS)
    return reason, encode_message(message)._replace(value=flaw(message))
