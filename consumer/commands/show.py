"""``consumer show``: a session and its events in order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from consumer.commands.common.output import console, position_text, to_json
from consumer.commands.common.record_selection import check_session_id
from consumer.contract.times import format_time
from consumer.errors import ExitCode, must_answer
from consumer.mongo.session_reader import SessionReader, open_session_reader
from consumer.printable import printable
from consumer.settings.model import Settings

SPEAKERS = {"user_speech": "user", "bot_speech": "bot", "system": "system"}


async def show_session(settings: Settings, session_id: str, *, as_json: bool) -> ExitCode:
    """Print the session; ``FOUND`` as exit code where neither session nor event is stored.

    Raises ``PreconditionError`` where MongoDB does not answer, ``SettingsError`` for what
    cannot be the id of a session.
    """
    check_session_id(session_id)
    with must_answer("MongoDB"):
        async with open_session_reader(settings.mongo) as reader:
            if as_json:
                return await _print_json(reader, session_id)
            return await _print_text(reader, session_id, console())


async def _print_json(reader: SessionReader, session_id: str) -> ExitCode:
    """One line for the session, then one for each event, so that any size streams."""
    session = await reader.session(session_id)
    out = console()
    if session is not None:
        out.out(to_json(_without_id(session)))
    events = 0
    async for event in reader.events(session_id):
        events += 1
        out.out(to_json(_without_id(event)))
    return ExitCode.DONE if session is not None or events else ExitCode.FOUND


async def _print_text(reader: SessionReader, session_id: str, out: Console) -> ExitCode:
    session = await reader.session(session_id)
    count = await reader.count_events(session_id)
    if session is None and not count:
        out.print(f"no session and no event with the id {printable(session_id)}", markup=False)
        return ExitCode.FOUND
    for line in _head(session_id, session, count):
        out.print(line)
    out.print()
    async for event in reader.events(session_id):
        out.print(event_line(event))
    return ExitCode.DONE


def _head(session_id: str, session: Mapping[str, Any] | None, count: int) -> list[Text]:
    facts = {"session": printable(session_id)}
    for name, value in (session or {}).items():
        if name in {"_id", "sessionId", "createdFrom", "endedFrom"}:
            continue
        facts[printable(name)] = _fact(value)
    for name in ("createdFrom", "endedFrom"):
        origin = (session or {}).get(name)
        if origin:
            facts[name] = _origin(origin)
    declared = (session or {}).get("eventCount")
    whole = declared is None or declared == count
    facts["events"] = f"{count}" if whole else f"{count} of {_fact(declared)}"
    return [Text.assemble((f"{name:>12}  ", "dim"), value) for name, value in facts.items()]


def _fact(value: object) -> str:
    """Return a stored value as text; what is no text as JSON, which escapes by itself."""
    if isinstance(value, datetime):
        return format_time(value)
    return printable(value) if isinstance(value, str) else to_json(value)


def _origin(origin: object) -> str:
    """Return the place of a record; whoever else wrote the document may have put anything there."""
    match origin:
        case {"topic": str(topic), "partition": int(partition), "offset": int(offset)}:
            return position_text(topic, partition, offset)
        case _:
            return to_json(origin)


def event_line(event: Mapping[str, Any]) -> Text:
    """Return one event as a line of a transcript, whatever somebody has made of its document."""
    payload = event.get("payload", {})
    said = payload.get("text") if isinstance(payload, Mapping) else None
    text = printable(said) if isinstance(said, str) else to_json({"payload": payload})
    kind = SPEAKERS.get(str(event.get("type")), "?")
    style = {"user": "cyan", "bot": "green"}.get(kind, "yellow")
    return Text.assemble(
        (_fact(event.get("timestamp")), "dim"), "  ", (f"{kind:>6}", style), "  ", text
    )


def _without_id(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "_id"}
