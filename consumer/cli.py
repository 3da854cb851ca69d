"""The commands. Each parses its options and hands over; what it does lives elsewhere.

Modules are imported when their command runs: ``--help`` and a wrong option answer at once,
and an optional part is needed only by whoever asks for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Annotated

import typer

from consumer import __version__, signals
from consumer import cli_options as options
from consumer.cli_options import (
    finish,
    selection_from,
    settings_from,
    settings_to_run,
    with_options,
)
from consumer.commands.common.record_selection import RecordSelection
from consumer.commands.dead_letters.dead_letters_cli import dead_letters_app
from consumer.settings.model import EVENTS_TOPIC, SESSIONS_TOPIC, Settings

app = typer.Typer(
    name="consumer",
    help="Read conversation sessions and events from Kafka and apply them idempotently to MongoDB.",
    no_args_is_help=True,
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
@with_options(settings_to_run, "servers", "group", "uri", "database", "assignments")
def run(
    settings: Settings,
    *,
    exit_when_caught_up: Annotated[
        bool,
        typer.Option(
            "--exit-when-caught-up",
            help="End when the group has committed the end offsets found at start.",
        ),
    ] = False,
) -> None:
    """Consume until SIGTERM or SIGINT, then drain, commit and exit 0.

    Start as many instances as there are partitions; they share the work. A second signal
    ends the process at once (exit 130). SIGUSR1 resumes partitions that the dead-letter
    breaker holds.

    Example: `consumer run --set kafka.group_id=backfill --exit-when-caught-up`
    """
    from consumer.app import run_consumer

    # Until it answers signals itself it has nothing to finish, and ends with 0.
    finish(run_consumer(settings, until_caught_up=exit_when_caught_up), asyncio.run)


@app.command()
@with_options(settings_from, "servers", "uri", "database", "assignments")
def check(settings: Settings, *, as_json: options.Json = False) -> None:
    """Look at every precondition, with a fix for each that fails. Exit 1 if any does.

    Example: `consumer check --json`
    """
    from consumer.commands.check import check_everything

    finish(check_everything(settings, as_json=as_json))


@app.command()
@with_options(settings_from, "servers", "uri", "database", "assignments")
def init(
    settings: Settings,
    *,
    topics: Annotated[
        bool,
        typer.Option(
            "--topics", help="Also create the topics that are read; otherwise they must be there."
        ),
    ] = False,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Partitions of topics that are created. [default: as those that are read]"
        ),
    ] = None,
    replication_factor: Annotated[
        int | None,
        typer.Option(
            min=1, help="Replicas of topics that are created. [default: the cluster's own]"
        ),
    ] = None,
    retention_days: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="How long topics that are read keep records, where they are created. "
            "[default: the cluster's own]",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the commands that would do it; change nothing."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Make what is missing: dead-letter topics, collections, indexes, shard keys; topics if asked.

    What is there stays as it is, so that this can be run again. Exit 1 if something is missing
    or wrong in the end.

    Example: `consumer init --topics --partitions 12 --replication-factor 3 --dry-run`
    """
    from consumer.commands.init.init import initialize
    from consumer.commands.init.topic_provisions import InitRequest

    request = InitRequest(
        topics=topics,
        partitions=partitions,
        replicas=replication_factor,
        retention_days=retention_days,
        dry_run=dry_run,
        as_json=as_json,
    )
    finish(initialize(settings, request))


@app.command()
@with_options(settings_from, "uri", "database", "assignments")
def show(
    settings: Settings,
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID")],
    *,
    as_json: options.Json = False,
) -> None:
    """Print a session and its events in order. Exit 1 if it is unknown.

    Example: `consumer show 7d0c2f6a --json`
    """
    from consumer.commands.show import show_session

    finish(show_session(settings, session_id, as_json=as_json))


@app.command()
@with_options(settings_from, "dead_letters", "servers", "uri", "database", "assignments")
@with_options(selection_from)
def replay(
    selection: RecordSelection,
    settings: Settings,
    *,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only messages of this type. Repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that the topics hold.")] = False,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Only the records listed by consumer audit --emit; - is standard input.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="With --file: put altered documents back, where they say that they came from "
            "the listed record. Nothing else ever overwrites.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen to MongoDB; write nothing.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="The most records a second, on average.")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keep the progress here; the same command then goes on from it."
        ),
    ] = None,
    dead_letters: options.DeadLetters = None,
    as_json: options.Json = False,
) -> None:
    """Apply a part of the topics once more, through the same pipeline, without the group.

    Live offsets stay as they are, and the group may go on meanwhile. The ends found at start
    bound it. --database rebuilds into another database. Exit 5 if it was interrupted, 1 if no
    record of the sessions asked for was found, or if listed records are not in the topics
    any more.

    Example: `consumer replay --from-time 2h --dry-run`
    """
    from consumer.commands.replay.replay_request import ReplayRequest
    from consumer.commands.replay.run_replay import show_replay

    request = ReplayRequest(
        **asdict(replace(selection, kinds=tuple(types or ()))),
        everything=everything,
        file=file,
        repair=repair,
        dry_run=dry_run,
        rate=rate,
        state=state,
        send_dead_letters=dead_letters != options.NO_DEAD_LETTERS,
        as_json=as_json,
    )
    finish(show_replay(settings, request))


@app.command()
@with_options(settings_from, "servers", "group", "uri", "database", "assignments")
@with_options(selection_from)
def audit(
    selection: RecordSelection,
    settings: Settings,
    *,
    emit: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="List the problems here, for consumer replay --file."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Prove for every record that MongoDB or the dead-letter topic accounts for it.

    Reads all that the group has committed, or the part selected. Exit 1 if anything is missing,
    altered, repeated (several documents of one identity), or unknown: a record that can have
    left nothing but a dead letter, from a time whose letters have expired.

    Example: `consumer audit --from-time yesterday --emit problems.ndjson`
    """
    from consumer.commands.audit.audit import show_audit

    finish(show_audit(settings, selection, emit=emit, as_json=as_json))


@app.command()
@with_options(settings_from, "servers", "group", "uri", "database", "assignments")
@with_options(selection_from, "from_time", "all_partitions")
def explain(
    selection: RecordSelection,
    settings: Settings,
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID")],
    *,
    as_json: options.Json = False,
) -> None:
    """Show every record of a session in the log with its outcome, its documents, its dead letters.

    Reads the partitions that the session's key leads to and that its documents came from; all of
    them where keys do not lead to where records lie, or nothing is found. A record that the
    group has not committed yet is unread, not missing. Exit 1 if nothing is known of it.

    Example: `consumer explain 7d0c2f6a --from-time 2d`
    """
    from consumer.commands.explain import explain_session

    selection = replace(selection, sessions=(session_id,))
    finish(explain_session(settings, selection, as_json=as_json))


@app.command()
@with_options(settings_from, "servers", "group", "assignments")
def status(
    settings: Settings,
    *,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Look again every two seconds until interrupted: redraw on a terminal, else write "
            "a line for each look, or an object with --json.",
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show the group: members, lag in records and time, rate, time left, retention margin.

    Exit 1 where unread records were deleted, a partition is held or cannot be read, or the
    group is not known.

    Example: `consumer status --watch`
    """
    from consumer.commands.status import show_status

    finish(show_status(settings, watch=watch, as_json=as_json))


@app.command()
@with_options(settings_from, "assignments")
def contract(
    settings: Settings,
    *,
    asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="Print it as an AsyncAPI 3 document, in YAML.")
    ] = False,
    json_schema: Annotated[
        str | None,
        typer.Option("--json-schema", metavar="TYPE", help="Print the JSON Schema of this type."),
    ] = None,
    sessions_topic: Annotated[
        str, typer.Option(metavar="TOPIC", help="Where producers send session messages.")
    ] = SESSIONS_TOPIC,
    events_topic: Annotated[
        str, typer.Option(metavar="TOPIC", help="Where producers send events.")
    ] = EVENTS_TOPIC,
) -> None:
    """Print the message contract for other programs, as the code itself has it.

    The AsyncAPI document is about the topics that are named here, which must be among those that
    are read (kafka.topics), and the dead-letter topic of the settings.

    Example: `consumer contract --json-schema event.recorded`
    """
    from consumer.commands.print_contract import print_asyncapi, print_json_schema

    if asyncapi == (json_schema is not None):
        raise typer.BadParameter("either --asyncapi or --json-schema TYPE says what to print")
    if json_schema is not None:
        print_json_schema(json_schema)
    else:
        print_asyncapi(settings, sessions_topic, events_topic)


@app.command()
def demo(
    *,
    sessions: Annotated[
        int, typer.Option(min=2, help="How many real conversations to publish.")
    ] = 1000,
    all_sessions: Annotated[
        bool, typer.Option("--all", help="Publish every conversation.")
    ] = False,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Instead: the servers and one consumer, to publish to, until Ctrl-C.",
        ),
    ] = False,
    kafka_port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --serve; 0 takes any free one.")
    ] = 9092,
    mongodb_port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --serve; 0 takes any free one.")
    ] = 27017,
) -> None:
    """See it work: embedded servers, real conversations, two consumers of which one is killed.

    Example: `consumer demo --sessions 200`
    """
    from consumer.demo.demo import run_demo, run_servers

    options.freeze_loaded_objects()
    if serve:
        raise typer.Exit(run_servers(kafka_port=kafka_port, mongodb_port=mongodb_port))
    raise typer.Exit(run_demo(all_sessions=all_sessions, sessions=sessions))


def main() -> None:
    """Run a command to the end of the process."""
    signals.run_command(app, "consumer")
