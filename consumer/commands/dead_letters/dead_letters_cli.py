"""The commands ``consumer dead-letters …``: what can be asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.commands.dead_letters.dead_letter_options import (
    AsJson,
    BootstrapServers,
    DealtWith,
    Keys,
    Origins,
    Parked,
    Places,
    Reasons,
    Rehearsal,
    Since,
    Until,
    selection_of,
)
from consumer.settings import load_settings

dead_letters_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@dead_letters_app.callback()
def _about() -> None:
    """Look at dead letters, send them back, or discard them.

    A round: `list` says what failed and where; `show` shows one with its payload; mend the
    cause; `redrive --limit 1` sends one back as a canary, and `redrive` the rest.

    Letters are never deleted: what became of each stands in the compacted topic
    `<dead-letter topic>.redriven`, which the first redrive or discard creates.

    Exit codes: 0 done; 1 some letters could not be sent back, or none was found to show;
    2 usage; 3 the brokers cannot be used or a topic is missing.
    """


@dead_letters_app.command("list")
def list_letters(
    *,
    reasons: Reasons = None,
    keys: Keys = None,
    since: Since = None,
    until: Until = None,
    origins: Origins = None,
    places: Places = None,
    each: Annotated[bool, typer.Option("--each", help="A line for each letter.")] = False,
    show_keys: Annotated[
        bool, typer.Option("--keys", help="A line for each letter, with its key.")
    ] = False,
    dealt_with: DealtWith = False,
    parked: Parked = False,
    bootstrap_servers: BootstrapServers = None,
    as_json: AsJson = False,
) -> None:
    """Count the letters that wait, by reason, topic and hour.

    Copies of one failure are counted as such. FIRST is where the first letter of a group
    lies, as `show --letter` takes it.

    Example: `consumer dead-letters list --reason invalid --since 26h`
    """
    from consumer.commands.dead_letters.dead_letter_runs import Work, run_list

    work = Work(
        load_settings({"kafka.bootstrap_servers": bootstrap_servers}),
        selection_of(reasons, keys, since, until, origins, places),
        parked=parked,
        dealt_with=dealt_with,
        as_json=as_json,
    )
    raise typer.Exit(run_list(work, each=each or show_keys, keys=show_keys))


@dead_letters_app.command("show")
def show_letters(
    *,
    reasons: Reasons = None,
    keys: Keys = None,
    since: Since = None,
    until: Until = None,
    origins: Origins = None,
    places: Places = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many, at most.")] = 10,
    full: Annotated[
        bool, typer.Option("--full", help="All of a value, not only its first 4,096 bytes.")
    ] = False,
    parked: Parked = False,
    bootstrap_servers: BootstrapServers = None,
    as_json: AsJson = False,
) -> None:
    """Show letters with key, headers and value, whatever became of them.

    This prints what people said. What is not plainly visible is escaped.

    Example: `consumer dead-letters show --letter 0:17`
    """
    from consumer.commands.dead_letters.dead_letter_runs import Work, run_show

    work = Work(
        load_settings({"kafka.bootstrap_servers": bootstrap_servers}),
        selection_of(reasons, keys, since, until, origins, places),
        parked=parked,
        as_json=as_json,
    )
    raise typer.Exit(run_show(work, limit=limit, full=full))


@dead_letters_app.command()
def redrive(
    *,
    reasons: Reasons = None,
    keys: Keys = None,
    since: Since = None,
    until: Until = None,
    origins: Origins = None,
    places: Places = None,
    rehearsal: Rehearsal = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Send so many and stop: a canary.", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="PER_SECOND", help="Records a second, at most.", show_default=False
        ),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Repair each record with a function; see above."
        ),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Park what has come back so often; else dead_letters.max_attempts.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was redriven or parked before.")
    ] = False,
    dealt_with: DealtWith = False,
    parked: Parked = False,
    bootstrap_servers: BootstrapServers = None,
    as_json: AsJson = False,
) -> None:
    """Send records back to the topics they came from, as they came.

    Key, value, headers and timestamp are the original's; `redrive-timestamp-ms` says that
    time, too, and `dlq-attempt` lets the next failure count on. What has been redriven is
    not sent again; a crash can repeat the 200 records in flight, at most. What has come back
    more than dead_letters.max_attempts times goes to dead_letters.parking_topic instead.

    A transform is a function that gets the failed record (`key`, `value`, `headers`,
    `reason`, `detail`, `origin`) and returns the new value (bytes or a JSON object), or None
    to leave the letter alone. What it returns is read as the consumer reads it; where that
    fails, nothing is sent and the letter stays. Two redrives at once may send twice.

    Example: `consumer dead-letters redrive --reason key_mismatch --limit 1`
    """
    from consumer.commands.dead_letters.dead_letter_runs import RedriveOptions, Work, run_redrive
    from consumer.commands.dead_letters.transform import load_transform

    settings = load_settings({"kafka.bootstrap_servers": bootstrap_servers})
    work = Work(
        settings,
        selection_of(reasons, keys, since, until, origins, places),
        parked=parked,
        dealt_with=dealt_with,
        as_json=as_json,
    )
    try:
        function = None if transform is None else load_transform(transform)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--transform") from error
    options = RedriveOptions(
        rehearsal=rehearsal,
        rate=rate,
        limit=limit,
        transform=function,
        max_attempts=max_attempts or settings.dead_letters.max_attempts,
        again=again,
    )
    raise typer.Exit(run_redrive(work, options))


@dead_letters_app.command()
def discard(
    *,
    because: Annotated[
        str, typer.Option("--because", metavar="TEXT", help="Why; it is kept with the mark.")
    ],
    reasons: Reasons = None,
    keys: Keys = None,
    since: Since = None,
    until: Until = None,
    origins: Origins = None,
    places: Places = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="All letters, where no filter is given.")
    ] = False,
    rehearsal: Rehearsal = False,
    dealt_with: DealtWith = False,
    parked: Parked = False,
    bootstrap_servers: BootstrapServers = None,
    as_json: AsJson = False,
) -> None:
    """Mark letters as dealt with: list and redrive leave them out from then on.

    The letters stay where they are; `list --all` shows them.

    Example: `consumer dead-letters discard --origin test-topic --because "load test"`
    """
    from consumer.commands.dead_letters.dead_letter_runs import Work, run_discard

    selection = selection_of(reasons, keys, since, until, origins, places)
    if selection.everything and not everything:
        raise typer.BadParameter("say which letters, by a filter, or give --everything")
    work = Work(
        load_settings({"kafka.bootstrap_servers": bootstrap_servers}),
        selection,
        parked=parked,
        dealt_with=dealt_with,
        as_json=as_json,
    )
    raise typer.Exit(run_discard(work, because, rehearsal=rehearsal))
