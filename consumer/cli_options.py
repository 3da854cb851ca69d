"""The options that several commands share, and what they make: settings, a selection of records."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from inspect import Signature, signature
from typing import Annotated, Any

import typer

from consumer import signals
from consumer.commands.common.record_selection import RecordSelection
from consumer.errors import SettingsError
from consumer.settings.model import Settings
from consumer.settings.sources import load_settings, parse_assignments

GC_THRESHOLD = 50_000
"""So many new objects let the collector of garbage look while a command works: a batch makes
thousands, none of which are in a circle."""

NO_DEAD_LETTERS = "none"
"""The name that stands for no dead-letter topic at all."""

Servers = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="Kafka brokers, host:port, separated by commas."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by its dotted name, e.g. --set kafka.group_id=backfill. Repeatable. "
        "Others on the machine see it: no secrets.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DeadLetters = Annotated[
    str | None,
    typer.Option(
        metavar="TOPIC|none",
        help="Where dead letters go (a replay meets every old conflict again); none: only "
        "count them. [default: dead_letters.topic]",
    ),
]


def settings_from(
    *,
    servers: Servers = None,
    group: Annotated[str | None, typer.Option("--group-id", help="The consumer group.")] = None,
    uri: Annotated[
        str | None,
        typer.Option(
            "--mongo-uri", help="MongoDB connection string. Others on the machine see it."
        ),
    ] = None,
    database: Annotated[str | None, typer.Option("--database", help="MongoDB database.")] = None,
    dead_letters: DeadLetters = None,
    assignments: Set = None,
) -> Settings:
    """Load the settings; a command's own options win, then ``--set``, then the environment."""
    overrides = parse_assignments(assignments or [])
    named = {
        "kafka.bootstrap_servers": servers,
        "kafka.group_id": group,
        "mongo.uri": uri,
        "mongo.database": database,
        "dead_letters.topic": None if dead_letters == NO_DEAD_LETTERS else dead_letters,
    }
    overrides |= {name: given for name, given in named.items() if given is not None}
    return load_settings(overrides)


@wraps(settings_from)
def settings_to_run(*, assignments: Set = None, **options: Any) -> Settings:  # noqa: ANN401 -- they are passed on
    """As ``settings_from``; where the log is for machines, what is refused is a line of it."""
    try:
        return settings_from(assignments=assignments, **options)
    except SettingsError as error:
        from consumer.observability.logs import (  # noqa: PLC0415 -- only where it is needed
            log_refused_start,
        )

        raise typer.Exit(log_refused_start(error, assignments or [])) from None


def selection_from(
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
    all_partitions: Annotated[
        bool,
        typer.Option(
            "--all-partitions",
            help="Look for the session in every partition, not only in those that its key leads "
            "to and that its documents came from.",
        ),
    ] = False,
) -> RecordSelection:
    """Return which records a command is to read."""
    return RecordSelection(
        tuple(topics or ()),
        tuple(partitions or ()),
        from_offset,
        to_offset,
        from_time,
        to_time,
        tuple(sessions or ()),
        all_partitions,
    )


def with_options(
    make: Callable[..., object], *names: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of ``make``: these ones, else all.

    What ``make`` returns becomes the command's first argument.
    """
    every = signature(make, eval_str=True).parameters
    taken = {name: every[name] for name in names or every}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        _, *own = signature(command, eval_str=True).parameters.values()
        kept = {parameter.name: parameter for parameter in own}

        def run(*made: object, **given: object) -> object:
            first = make(**{name: given[name] for name in taken})
            rest = {name: value for name, value in given.items() if name in kept}
            return command(first, *made, **rest)

        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        # This is where the options are looked for.
        parameters = (kept | taken).values()
        run.__signature__ = Signature(list(parameters))  # type: ignore[attr-defined]  # no function has it by its type
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def freeze_loaded_objects() -> None:
    """Let the collector of garbage look again, at what is made from here on.

    To be called by every command before it works: nothing looks while modules are loaded.
    """
    # What has been loaded stays until the end. To look it through once more takes a tenth of a
    # start, and finds an eighth of a megabyte.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def finish(
    work: Coroutine[Any, Any, int],
    run: Callable[[Coroutine[Any, Any, int]], int] = signals.run_interruptible,
) -> None:
    """Run a command to its exit code, by ``run``; SIGTERM lets it clean up, as SIGINT does."""

    async def without_threads() -> int:
        try:
            return await work
        finally:
            # A loop waits for its threads when it closes, and one that looks up a name may
            # take minutes. ``signals.exit_process`` ends the process without them.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    freeze_loaded_objects()
    raise typer.Exit(run(without_threads()))
