"""The options that the dead-letter commands have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from consumer.commands.dead_letters.dead_letter_record import UNKNOWN
from consumer.commands.dead_letters.dead_letter_selection import (
    UNREADABLE,
    Selection,
    parse_moment,
    parse_origin,
    parse_partition_offsets,
)
from consumer.contract.rejection import Reason

_REASONS: Final = [*(reason.value for reason in Reason), UNKNOWN, UNREADABLE]

Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason",
        metavar="REASON",
        help=f"Only letters with this dlq-reason; repeatable. One of: {', '.join(_REASONS)}.",
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="SESSION_ID", help="Only records with this key; repeatable."),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only what failed then or later: 2026-03-04T10:00:00Z, 2026-03-04, or 26h ago as 26h.",
    ),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only what failed before that.")
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--origin",
        metavar="TOPIC[:PLACE]",
        help="Only records that came from there; repeatable. PLACE: as in --letter.",
    ),
]
Places = Annotated[
    list[str] | None,
    typer.Option(
        "--letter",
        metavar="PLACE",
        help="Only letters that lie there in the dead-letter topic; repeatable. PLACE: PARTITION, "
        "PARTITION:OFFSET, or PARTITION:FIRST-LAST with both offsets included.",
    ),
]
DealtWith = Annotated[
    bool, typer.Option("--all", help="Also letters that were redriven, parked or discarded.")
]
Parked = Annotated[
    bool,
    typer.Option(
        "--parked", help="The letters in dead_letters.parking_topic instead of the dead letters."
    ),
]
BootstrapServers = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="Kafka brokers, host:port, separated by commas."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, one object a line.")]
Rehearsal = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done; nothing is written.")
]


def _reason(text: str) -> str:
    if text not in _REASONS:
        raise ValueError(f"{text!r} is no reason; allowed: {', '.join(_REASONS)}")
    return text


def selection_of(
    reasons: list[str] | None,
    keys: list[str] | None,
    since: str | None,
    until: str | None,
    origins: list[str] | None,
    places: list[str] | None,
) -> Selection:
    """Return what the filters select. Raises ``typer.BadParameter``."""
    now = datetime.now(UTC)
    try:
        return Selection(
            frozenset(map(_reason, reasons or ())),
            frozenset(key.encode(errors="surrogateescape") for key in keys or ()),
            None if since is None else parse_moment(since, now),
            None if until is None else parse_moment(until, now),
            tuple(map(parse_origin, origins or ())),
            tuple(map(parse_partition_offsets, places or ())),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
