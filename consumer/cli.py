"""The commands. Each parses its options and hands over; what it does lives elsewhere.

Modules are imported when their command runs: ``--help`` and a wrong option answer at once,
and an optional part is needed only by whoever asks for it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from consumer import __version__, signals
from consumer import cli_options as options
from consumer.cli_options import finish, settings_from
from consumer.commands.dead_letters.dead_letters_cli import dead_letters_app

app = typer.Typer(
    name="consumer",
    help="Read conversation sessions and events from Kafka and apply them idempotently to MongoDB.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(dead_letters_app, name="dead-letters")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(
    *,
    exit_when_caught_up: Annotated[
        bool,
        typer.Option(
            "--exit-when-caught-up",
            help="End when the group has committed the end offsets found at start.",
        ),
    ] = False,
    servers: options.Servers = None,
    group: options.Group = None,
    uri: options.Uri = None,
    database: options.Database = None,
    assignments: options.Set = None,
) -> None:
    """Consume until SIGTERM or SIGINT, then drain, commit and exit 0.

    Start as many instances as there are partitions; they share the work. A second signal
    ends the process at once (exit 130). SIGUSR1 resumes partitions that the dead-letter
    breaker holds.
    """
    settings = settings_from(assignments, servers=servers, group=group, uri=uri, database=database)
    from consumer.app import run_consumer

    finish(lambda: run_consumer(settings, until_caught_up=exit_when_caught_up))


@app.command()
def check(
    *,
    servers: options.Servers = None,
    uri: options.Uri = None,
    database: options.Database = None,
    as_json: options.Json = False,
    assignments: options.Set = None,
) -> None:
    """Look at every precondition, with a fix for each that fails. Exit 1 if any does."""
    settings = settings_from(assignments, servers=servers, uri=uri, database=database)
    from consumer.commands.check import check_everything

    finish(lambda: check_everything(settings, as_json=as_json))


@app.command()
def show(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID")],
    *,
    uri: options.Uri = None,
    database: options.Database = None,
    as_json: options.Json = False,
    assignments: options.Set = None,
) -> None:
    """Print a session and its events in order. Exit 1 if it is unknown."""
    settings = settings_from(assignments, uri=uri, database=database)
    from consumer.commands.show import show_session

    finish(lambda: show_session(settings, session_id, as_json=as_json))


@app.command()
def replay(
    *,
    topics: options.Topics = None,
    partitions: options.Partitions = None,
    from_offset: options.FromOffset = None,
    to_offset: options.ToOffset = None,
    from_time: options.FromTime = None,
    to_time: options.ToTime = None,
    sessions: Annotated[
        list[str] | None,
        typer.Option(
            "--session",
            help="Only this session. Only the partitions are read that its id leads to and that "
            "its documents came from. Repeatable.",
        ),
    ] = None,
    all_partitions: options.AllPartitions = False,
    types: options.Types = None,
    everything: options.Everything = False,
    file: options.File = None,
    repair: options.Repair = False,
    dry_run: options.DryRun = False,
    rate: options.Rate = None,
    state: options.State = None,
    workers: options.Workers = None,
    dead_letters: options.DeadLetters = None,
    servers: options.Servers = None,
    uri: options.Uri = None,
    database: options.Database = None,
    as_json: options.Json = False,
    assignments: options.Set = None,
) -> None:
    """Apply a part of the topics once more, through the same pipeline, without the group.

    Live offsets stay as they are, and the group may go on meanwhile. The ends found at start
    bound it. --database rebuilds into another database. Exit 5 if it was interrupted, 1 if no
    record of the sessions asked for was found, or if
    listed records are not in the topics any more.
    """
    from consumer.commands.replay.replay_request import NO_DEAD_LETTERS, ReplayRequest

    settings = settings_from(
        assignments,
        servers=servers,
        uri=uri,
        database=database,
        dead_letters=None if dead_letters == NO_DEAD_LETTERS else dead_letters,
    )
    request = ReplayRequest(
        topics=tuple(topics or ()),
        partitions=tuple(partitions or ()),
        from_offset=from_offset,
        to_offset=to_offset,
        from_time=from_time,
        to_time=to_time,
        sessions=tuple(sessions or ()),
        all_partitions=all_partitions,
        kinds=tuple(types or ()),
        everything=everything,
        file=file,
        repair=repair,
        dry_run=dry_run,
        rate=rate,
        state=state,
        workers=workers,
        send_dead_letters=dead_letters != NO_DEAD_LETTERS,
        as_json=as_json,
    )
    from consumer.commands.replay.run_replay import show_replay

    finish(lambda: show_replay(settings, request))


@app.command()
def audit(
    *,
    topics: options.Topics = None,
    partitions: options.Partitions = None,
    from_offset: options.FromOffset = None,
    to_offset: options.ToOffset = None,
    from_time: options.FromTime = None,
    to_time: options.ToTime = None,
    sessions: Annotated[
        list[str] | None, typer.Option("--session", help="Only this session. Repeatable.")
    ] = None,
    all_partitions: options.AllPartitions = False,
    emit: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="List the problems here, for consumer replay --file."),
    ] = None,
    servers: options.Servers = None,
    group: options.Group = None,
    uri: options.Uri = None,
    database: options.Database = None,
    as_json: options.Json = False,
    assignments: options.Set = None,
) -> None:
    """Prove for every record that MongoDB or the dead-letter topic accounts for it.

    Reads all that the group has committed, or the part selected. Exit 1 if anything is missing,
    altered, repeated (several documents of one identity), or unknown: a record that can have
    left nothing but a dead letter, from a time whose letters have expired.
    """
    from consumer.commands.common.record_selection import RecordSelection

    settings = settings_from(assignments, servers=servers, group=group, uri=uri, database=database)
    selection = RecordSelection(
        topics=tuple(topics or ()),
        partitions=tuple(partitions or ()),
        from_offset=from_offset,
        to_offset=to_offset,
        from_time=from_time,
        to_time=to_time,
        sessions=tuple(sessions or ()),
        all_partitions=all_partitions,
    )
    from consumer.commands.audit.audit import show_audit

    finish(lambda: show_audit(settings, selection, emit=emit, as_json=as_json))


@app.command()
def explain(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID")],
    *,
    from_time: Annotated[
        str | None,
        typer.Option(
            help="Read only records of this time on: 2026-03-04T10:00:00Z, a date, yesterday, 2h."
        ),
    ] = None,
    all_partitions: options.AllPartitions = False,
    servers: options.Servers = None,
    group: options.Group = None,
    uri: options.Uri = None,
    database: options.Database = None,
    as_json: options.Json = False,
    assignments: options.Set = None,
) -> None:
    """Show every record of a session in the log with its outcome, its documents, its dead letters.

    Reads the partitions that the session's key leads to and that its documents came from; all of
    them where keys do not lead to where records lie, or nothing is found. A record that the
    group has not committed yet is unread, not missing. Exit 1 if nothing is known of it.
    """
    from consumer.commands.common.record_selection import RecordSelection

    settings = settings_from(assignments, servers=servers, group=group, uri=uri, database=database)
    selection = RecordSelection(
        sessions=(session_id,), all_partitions=all_partitions, from_time=from_time
    )
    from consumer.commands.explain import explain_session

    finish(lambda: explain_session(settings, selection, as_json=as_json))


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Redraw until interrupted.")] = False,
    servers: options.Servers = None,
    group: options.Group = None,
    as_json: options.Json = False,
    assignments: options.Set = None,
) -> None:
    """Show the group: members, lag in records and time, rate, time left, retention margin.

    Exit 1 where records were deleted before the group had read them.
    """
    settings = settings_from(assignments, servers=servers, group=group)
    from consumer.commands.status import show_status

    finish(lambda: show_status(settings, watch=watch, as_json=as_json))


@app.command()
def demo(
    *,
    sessions: Annotated[
        int, typer.Option(min=2, help="How many real conversations to publish.")
    ] = 1000,
    all_sessions: Annotated[
        bool, typer.Option("--all", help="Publish every conversation.")
    ] = False,
) -> None:
    """See it work: embedded servers, real conversations, two consumers of which one is killed."""
    from consumer.demo.demo import run_demo

    raise typer.Exit(run_demo(all_sessions=all_sessions, sessions=sessions))


def main() -> None:
    """Run a command to the end of the process."""
    signals.run_command(app, "consumer")
