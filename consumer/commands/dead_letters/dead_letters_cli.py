"""The commands ``consumer dead-letters …`` and their options."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from consumer import cli_options as options
from consumer.commands.common.time_parsing import FORMS, parse_moment
from consumer.commands.dead_letters.dead_letter_selection import (
    REASONS,
    DeadLetterRequest,
    DeadLetterSelection,
    OffsetSelector,
)
from consumer.errors import SettingsError

dead_letters_app = typer.Typer(no_args_is_help=True)

_OFFSETS: Final = re.compile(r"([0-9]{1,9})(?::([0-9]{1,19})(?:-([0-9]{1,19}))?)?")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done; nothing is written.")
]
AllStatuses = Annotated[
    bool, typer.Option("--all", help="Also what was redriven, parked or discarded.")
]


@dead_letters_app.callback()
def _about() -> None:
    """Look at dead letters, send them back, or discard them.

    A round: `list` says what failed and where; `show` shows one with its payload; mend the
    cause; `redrive --limit 1` sends one back as a canary, and `redrive` the rest.

    The dead letters of every group that sends them to this topic are meant. They are never
    deleted: what became of each stands in the compacted topic `<dead-letter topic>.redriven`,
    which the first redrive or discard creates.

    Exit codes: 0 done; 1 some could not be sent back, or none was found to show;
    2 usage; 3 the brokers cannot be used or a topic is missing; 130 or 143 interrupted.
    """


def parse_reason(text: str) -> str:
    """Return a reason, as ``dlq-reason`` names it. Raises ``BadParameter``."""
    if text not in REASONS:
        raise typer.BadParameter(f"{text!r} is no reason; allowed: {', '.join(REASONS)}")
    return text


def parse_offsets(text: str, topic: str | None = None) -> OffsetSelector:
    """Read ``PARTITION``, ``PARTITION:OFFSET`` or ``PARTITION:FIRST-LAST``.

    Raises ``BadParameter``.
    """
    found = _OFFSETS.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is not PARTITION, PARTITION:OFFSET or PARTITION:FIRST-LAST, such as 3:17-40"
        )
    partition, first, last = found.groups()
    if first is None:
        return OffsetSelector(topic, int(partition))
    if int(first) > int(last or first):
        raise typer.BadParameter(f"{text!r}: the first offset is behind the last")
    return OffsetSelector(topic, int(partition), int(first), int(last or first))


def parse_origin(text: str) -> OffsetSelector:
    """Read ``TOPIC``, or ``TOPIC:`` and offsets. Raises ``BadParameter``."""
    topic, colon, offsets = text.strip().partition(":")
    if _TOPIC.fullmatch(topic) is None:
        raise typer.BadParameter(
            f"{text!r} is not TOPIC or TOPIC:PARTITION:FIRST-LAST, such as "
            "conversation.events:3:17-40"
        )
    return parse_offsets(offsets, topic) if colon else OffsetSelector(topic)


def _parse_text(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("says nothing")
    return text


def request_from(
    *,
    reasons: Annotated[
        list[str] | None,
        typer.Option(
            "--reason",
            metavar="REASON",
            parser=parse_reason,
            help="Only dead letters with this dlq-reason; repeatable. "
            f"One of: {', '.join(REASONS)}.",
        ),
    ] = None,
    keys: Annotated[
        list[bytes] | None,
        typer.Option(
            "--key",
            metavar="SESSION_ID",
            parser=os.fsencode,
            help="Only records with this key; repeatable.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Only what failed then or later: {FORMS}.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what failed before that.")
    ] = None,
    origins: Annotated[
        list[OffsetSelector] | None,
        typer.Option(
            "--origin",
            metavar="TOPIC[:OFFSETS]",
            parser=parse_origin,
            help="Only records that came from there; repeatable. OFFSETS: as in --letter.",
        ),
    ] = None,
    offsets: Annotated[
        list[OffsetSelector] | None,
        typer.Option(
            "--letter",
            metavar="OFFSETS",
            parser=parse_offsets,
            help="Only what lies there in the dead-letter topic; repeatable. OFFSETS: "
            "PARTITION, PARTITION:OFFSET, or PARTITION:FIRST-LAST with both offsets included.",
        ),
    ] = None,
    parked: Annotated[
        bool,
        typer.Option(
            "--parked",
            help="What lies in dead_letters.parking_topic instead of the dead-letter topic.",
        ),
    ] = False,
    servers: options.Servers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, one object a line.")] = False,
    assignments: options.Set = None,
) -> DeadLetterRequest:
    """Return what a command is asked, by the options that all of them share."""
    now = datetime.now(UTC)
    first = None if since is None else parse_moment("--since", since, now)
    end = None if until is None else parse_moment("--until", until, now)
    if first is not None and end is not None and first >= end:
        raise SettingsError(f"--since {since} is not before --until {until}")
    selection = DeadLetterSelection(
        tuple(reasons or ()),
        tuple(keys or ()),
        first,
        end,
        tuple(origins or ()),
        tuple(offsets or ()),
    )
    settings = options.settings_from(servers=servers, assignments=assignments)
    return DeadLetterRequest(settings, selection, parked, as_json)


@dead_letters_app.command("list")
@options.with_options(request_from)
def _list(
    request: DeadLetterRequest,
    *,
    each: Annotated[bool, typer.Option("--each", help="A line for each of them.")] = False,
    keys_too: Annotated[
        bool, typer.Option("--keys", help="A line for each of them, with its key.")
    ] = False,
    all_statuses: AllStatuses = False,
) -> None:
    """Count the dead letters that wait, by reason, topic and hour.

    Copies of one failure are counted as such; `first` is where the first one of a group
    lies, as `show --letter` takes it. A line for each of them says where it lies, what became
    of it, where its record came from, when it failed, how often, why, and the detail.

    Example: `consumer dead-letters list --reason invalid --since 26h`
    """
    from consumer.commands.dead_letters.list_and_show import list_dead_letters

    each = each or keys_too
    options.finish(list_dead_letters(request, each=each, keys=keys_too, all_statuses=all_statuses))


@dead_letters_app.command("show")
@options.with_options(request_from)
def _show(
    request: DeadLetterRequest,
    *,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many, at most.")] = 10,
    full: Annotated[
        bool, typer.Option("--full", help="All of a value, not only its first 4,096 bytes.")
    ] = False,
) -> None:
    """Show dead letters with key, headers and value, whatever became of them.

    This prints what people said. What is not plainly visible is escaped.

    Example: `consumer dead-letters show --letter 0:17`
    """
    from consumer.commands.dead_letters.list_and_show import show_dead_letters

    options.finish(show_dead_letters(request, limit=limit, full=full))


@dead_letters_app.command("redrive")
@options.with_options(request_from)
def _redrive(
    request: DeadLetterRequest,
    *,
    dry_run: DryRun = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Try so many and stop: a canary. One that the transform fails on, or the brokers "
            "refuse, was tried; what cannot be sent back at all is passed over.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="PER_SECOND", help="Records a second, at most."),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Repair each record with a function; see above."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was redriven or parked before.")
    ] = False,
    all_statuses: AllStatuses = False,
) -> None:
    """Send records back to the topics they came from, as they came.

    Key, value, headers and timestamp are the original's; `redrive-timestamp-ms` says that
    time, too, and `dlq-attempt` lets the next failure count on. What has been redriven is
    not sent again; a crash can repeat the 200 records in flight, at most. What has come back
    dead_letters.max_attempts times goes to dead_letters.parking_topic instead.

    A transform is a function that gets the failed record (`key`, `value`, `headers`,
    `reason`, `detail`, `origin`) and returns the new value (bytes, text or a JSON object), or
    None to leave it alone. What it returns is read as the consumer reads it; where that
    fails, nothing is sent and it stays. Two redrives at once may send twice.

    Example: `consumer dead-letters redrive --reason key_mismatch --limit 1`
    """
    from consumer.commands.dead_letters.dead_letter_status import ALL_STATUSES, NO_STATUSES, SENT
    from consumer.commands.dead_letters.redrive_and_discard import RunOptions, redrive_dead_letters
    from consumer.commands.dead_letters.transform import load_transform

    try:
        function = None if transform is None else load_transform(transform)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--transform") from error
    taken = ALL_STATUSES if all_statuses else SENT if again else NO_STATUSES
    chosen = RunOptions(taken, limit, rate, dry_run)
    options.finish(redrive_dead_letters(request, chosen, function))


@dead_letters_app.command("discard")
@options.with_options(request_from)
def _discard(
    request: DeadLetterRequest,
    *,
    because: Annotated[
        str,
        typer.Option(metavar="TEXT", parser=_parse_text, help="Why; it is kept with the mark."),
    ],
    everything: Annotated[
        bool, typer.Option("--everything", help="All of them, where no filter is given.")
    ] = False,
    dry_run: DryRun = False,
    all_statuses: AllStatuses = False,
) -> None:
    """Mark dead letters as dealt with: list and redrive leave them out from then on.

    They stay where they are; `list --all` shows them, and `redrive --all` takes them, too.

    Example: `consumer dead-letters discard --origin test-topic --because "load test"`
    """
    from consumer.commands.dead_letters.dead_letter_status import (
        ALL_STATUSES,
        NO_STATUSES,
        DeadLetterStatus,
    )
    from consumer.commands.dead_letters.redrive_and_discard import RunOptions, discard_dead_letters

    if request.selection.everything and not everything:
        raise typer.BadParameter("say which dead letters, by a filter, or give --everything")
    taken = ALL_STATUSES - {DeadLetterStatus.DISCARDED} if all_statuses else NO_STATUSES
    options.finish(discard_dead_letters(request, RunOptions(taken, dry_run=dry_run), because))
