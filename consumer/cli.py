"""The commands. Each parses its options and hands over; what it does lives elsewhere.

Modules are imported when their command runs: ``--help`` and a wrong option answer at once,
and an optional part is needed only by whoever asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from consumer import __version__, signals
from consumer.commands.dead_letters.dead_letters_cli import dead_letters_app
from consumer.contract.messages import MessageKind
from consumer.settings import Settings, load_settings

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

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by its dotted name, e.g. --set kafka.group_id=backfill. Repeatable. "
        "Others on the machine see it: no secrets.",
    ),
]
ServersOption = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="Kafka brokers, host:port, separated by commas."),
]
GroupOption = Annotated[str | None, typer.Option("--group-id", help="The consumer group.")]
UriOption = Annotated[
    str | None,
    typer.Option("--mongo-uri", help="MongoDB connection string. Others on the machine see it."),
]
DatabaseOption = Annotated[str | None, typer.Option("--database", help="MongoDB database.")]
AllPartitionsOption = Annotated[
    bool,
    typer.Option(
        "--all-partitions",
        help="Look for the session in every partition, not only in those that its key leads to "
        "and that its documents came from.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def settings_from(assignments: list[str] | None, **options: object) -> Settings:
    """Load the settings; a command's own options win, then ``--set``, then the surroundings."""
    overrides: dict[str, object] = {}
    for assignment in assignments or []:
        name, equals, value = assignment.partition("=")
        if not equals:
            # Without the text: it may hold a secret.
            raise typer.BadParameter("one of them is not NAME=VALUE", param_hint="--set")
        overrides[name.strip()] = value
    named = {
        "servers": "kafka.bootstrap_servers",
        "group": "kafka.group_id",
        "uri": "mongo.uri",
        "database": "mongo.database",
        "log_format": "log.format",
        "log_level": "log.level",
        "dead_letters": "dead_letters.topic",
    }
    overrides |= {named[key]: value for key, value in options.items() if value is not None}
    return load_settings(overrides)


def finish(work: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Run a command to its exit code."""

    async def without_threads() -> int:
        try:
            return await work()
        finally:
            # The loop waits for its threads when it closes, and one that looks up a name may
            # take minutes. ``signals.leave`` ends the process without them.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    raise typer.Exit(asyncio.run(without_threads()))


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
    servers: ServersOption = None,
    group: GroupOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    assignments: SetOption = None,
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
    servers: ServersOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
    assignments: SetOption = None,
) -> None:
    """Look at every precondition, with a fix for each that fails. Exit 1 if any does."""
    settings = settings_from(assignments, servers=servers, uri=uri, database=database)
    from consumer.commands.check import check_everything

    finish(lambda: check_everything(settings, as_json=as_json))


@app.command()
def show(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID")],
    *,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
    assignments: SetOption = None,
) -> None:
    """Print a session and its events in order. Exit 1 if it is unknown."""
    settings = settings_from(assignments, uri=uri, database=database)
    from consumer.commands.show import show_session

    finish(lambda: show_session(settings, session_id, as_json=as_json))


@app.command()
def replay(
    *,
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", help="Only this topic; all subscribed ones else. Repeatable."),
    ] = None,
    partitions: Annotated[
        list[int] | None,
        typer.Option("--partition", min=0, help="Only partitions of this number. Repeatable."),
    ] = None,
    from_offset: Annotated[
        int | None, typer.Option(min=0, help="From this offset on, in each partition.")
    ] = None,
    to_offset: Annotated[
        int | None, typer.Option(min=0, help="Up to this offset, itself not included.")
    ] = None,
    from_time: Annotated[
        str | None,
        typer.Option(
            help="From records of this time on: 2026-03-04T10:00:00Z, a date, yesterday, 2h."
        ),
    ] = None,
    to_time: Annotated[
        str | None, typer.Option(help="Up to the first record of this time, itself not included.")
    ] = None,
    sessions: Annotated[
        list[str] | None,
        typer.Option(
            "--session",
            help="Only this session. Only the partitions are read that its id leads to and that "
            "its documents came from. Repeatable.",
        ),
    ] = None,
    all_partitions: AllPartitionsOption = False,
    types: Annotated[
        list[MessageKind] | None,
        typer.Option("--type", help="Only messages of this type. Repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that the topics hold.")] = False,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
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
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Batches written at once. [default: engine.batches_in_flight]"),
    ] = None,
    dead_letters: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC|none",
            help="Where dead letters go (a replay meets every old conflict again); none: only "
            "count them. [default: dead_letters.topic]",
        ),
    ] = None,
    servers: ServersOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
    assignments: SetOption = None,
) -> None:
    """Apply a part of the topics once more, through the same pipeline, without the group.

    Live offsets stay as they are, and the group may go on meanwhile. The ends found at start
    bound it. --database rebuilds into another database. Exit 5 if it was interrupted, 1 if no
    record of the sessions asked for was found, or if
    listed records are not in the topics any more.
    """
    from consumer.commands.replay.request import NO_LETTERS, ReplayRequest

    settings = settings_from(
        assignments,
        servers=servers,
        uri=uri,
        database=database,
        dead_letters=None if dead_letters == NO_LETTERS else dead_letters,
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
        letters=dead_letters != NO_LETTERS,
        as_json=as_json,
    )
    from consumer.commands.replay.replay import replay as replay_part

    finish(lambda: replay_part(settings, request))


@app.command()
def audit(
    *,
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", help="Only this topic; all subscribed ones else. Repeatable."),
    ] = None,
    partitions: Annotated[
        list[int] | None,
        typer.Option("--partition", min=0, help="Only partitions of this number. Repeatable."),
    ] = None,
    from_offset: Annotated[
        int | None, typer.Option(min=0, help="From this offset on, in each partition.")
    ] = None,
    to_offset: Annotated[
        int | None, typer.Option(min=0, help="Up to this offset, itself not included.")
    ] = None,
    from_time: Annotated[
        str | None,
        typer.Option(
            help="From records of this time on: 2026-03-04T10:00:00Z, a date, yesterday, 2h."
        ),
    ] = None,
    to_time: Annotated[
        str | None, typer.Option(help="Up to the first record of this time, itself not included.")
    ] = None,
    sessions: Annotated[
        list[str] | None, typer.Option("--session", help="Only this session. Repeatable.")
    ] = None,
    all_partitions: AllPartitionsOption = False,
    emit: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="List the problems here, for consumer replay --file."),
    ] = None,
    servers: ServersOption = None,
    group: GroupOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
    assignments: SetOption = None,
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
    from consumer.commands.audit.audit import AuditRequest
    from consumer.commands.audit.audit import audit as audit_part
    from consumer.wiring import ask_retention

    async def audited() -> int:
        request = AuditRequest(selection, emit, as_json)
        return await audit_part(settings, request, await ask_retention(settings))

    finish(audited)


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
    all_partitions: AllPartitionsOption = False,
    servers: ServersOption = None,
    group: GroupOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
    assignments: SetOption = None,
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
    from consumer.commands.explain import explain as explain_session
    from consumer.wiring import ask_retention

    async def explained() -> int:
        retention = await ask_retention(settings)
        return await explain_session(settings, selection, retention, as_json=as_json)

    finish(explained)


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Redraw until interrupted.")] = False,
    servers: ServersOption = None,
    group: GroupOption = None,
    as_json: JsonOption = False,
    assignments: SetOption = None,
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
