"""Invented conversations, the same for the same seed. Pure: no clock, no global randomness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import UUID

Message = Mapping[str, object]

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_COMPLETED_SHARE: Final = 0.85
_FAILED_SHARE: Final = 0.05
_SYSTEM_EVENT_SHARE: Final = 0.05

_LANGUAGES: Final = ("en-US", "de-DE", "es-MX", "hi-IN", "ja-JP", "tr-TR")
_CHANNELS: Final = ("phone", "web", "kiosk")
_FAILURES: Final = ("line dropped", "no answer", "speech service unavailable")
_USER_TEXTS: Final = (
    "Hello, I would like to change my booking.",
    "Können Sie das bitte wiederholen?",
    "¿A qué hora sale el próximo tren?",
    "मुझे कल का मौसम बताइए।",
    "予約を確認したいのですが。",
    "Adres değişikliği yapmak istiyorum.",
    "Thanks, that is all 👍🏽",
    "No.",
)
_BOT_TEXTS: Final = (
    "Good morning, how can I help you?",
    "One moment please, I am looking that up.",
    "Ihre Buchung wurde geändert.",
    "El tren sale a las 18:05.",
    "かしこまりました。",
    "Is there anything else that I can do for you?",
)


def conversation(random: Random, events: int) -> Iterator[Message]:
    """Yield one session's messages in order, with times that never run backwards."""
    session_id = _identifier(random)
    now = _EPOCH + timedelta(milliseconds=random.randrange(30 * 24 * 3600 * 1000))
    yield {
        "type": "session.created",
        "sessionId": session_id,
        "language": random.choice(_LANGUAGES),
        "startedAt": _text(now),
        "metadata": {"channel": random.choice(_CHANNELS), "queue": random.randrange(8)},
    }
    for index in range(events):
        now += timedelta(milliseconds=random.randrange(200, 9000))
        yield _event(random, session_id, index, now)
    yield from _end(random, session_id, events, now)


def small_set(seed: int, sessions: int, events_per_session: int = 36) -> Iterator[Message]:
    """Yield ``sessions`` conversations of ``events_per_session`` events on average, one by one."""
    random = Random(f"{seed}/conversations")  # noqa: S311 -- invented text, no secret
    for _ in range(sessions):
        yield from conversation(random, event_count(random, events_per_session))


def event_count(random: Random, average: int) -> int:
    """Return a number of events from 1 to twice the average; 0 for an average of 0."""
    return random.randint(1, 2 * average - 1) if average else 0


def _event(random: Random, session_id: str, index: int, at: datetime) -> Message:
    event: dict[str, object] = {
        "type": "event.recorded",
        "sessionId": session_id,
        "eventId": _identifier(random),
    }
    if random.random() < _SYSTEM_EVENT_SHARE:
        event["eventType"] = "system"
        event["payload"] = {"kind": "silence", "durationMs": random.randrange(1000, 6000)}
    else:
        by_user = index % 2 == 1
        event["eventType"] = "user_speech" if by_user else "bot_speech"
        event["payload"] = {
            "text": random.choice(_USER_TEXTS if by_user else _BOT_TEXTS),
            "confidence": round(random.uniform(0.4, 1), 3),
            "turn": index,
        }
    event["timestamp"] = _text(at)
    return event


def _end(random: Random, session_id: str, events: int, last: datetime) -> Iterator[Message]:
    """Yield the end of most sessions; some are left open, as callers do."""
    ended_at = _text(last + timedelta(milliseconds=random.randrange(100, 3000)))
    draw = random.random()
    if draw < _COMPLETED_SHARE:
        yield {
            "type": "session.completed",
            "sessionId": session_id,
            "endedAt": ended_at,
            "eventCount": events,
        }
    elif draw < _COMPLETED_SHARE + _FAILED_SHARE:
        yield {
            "type": "session.failed",
            "sessionId": session_id,
            "endedAt": ended_at,
            "reason": random.choice(_FAILURES),
        }


def _identifier(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
