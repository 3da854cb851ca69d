"""The options that several commands share, and the settings that they override."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from consumer.contract.messages import MessageKind
from consumer.settings.model import Settings
from consumer.settings.sources import load_settings

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by its dotted name, e.g. --set kafka.group_id=backfill. Repeatable. "
        "Others on the machine see it: no secrets.",
    ),
]
Servers = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="Kafka brokers, host:port, separated by commas."),
]
Group = Annotated[str | None, typer.Option("--group-id", help="The consumer group.")]
Uri = Annotated[
    str | None,
    typer.Option("--mongo-uri", help="MongoDB connection string. Others on the machine see it."),
]
Database = Annotated[str | None, typer.Option("--database", help="MongoDB database.")]
Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", help="Only this topic; all subscribed ones else. Repeatable."),
]
Partitions = Annotated[
    list[int] | None,
    typer.Option("--partition", min=0, help="Only partitions of this number. Repeatable."),
]
FromOffset = Annotated[
    int | None, typer.Option(min=0, help="From this offset on, in each partition.")
]
ToOffset = Annotated[
    int | None, typer.Option(min=0, help="Up to this offset, itself not included.")
]
FromTime = Annotated[
    str | None,
    typer.Option(help="From records of this time on: 2026-03-04T10:00:00Z, a date, yesterday, 2h."),
]
ToTime = Annotated[
    str | None, typer.Option(help="Up to the first record of this time, itself not included.")
]
AllPartitions = Annotated[
    bool,
    typer.Option(
        "--all-partitions",
        help="Look for the session in every partition, not only in those that its key leads to "
        "and that its documents came from.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Types = Annotated[
    list[MessageKind] | None,
    typer.Option("--type", help="Only messages of this type. Repeatable."),
]
Everything = Annotated[bool, typer.Option("--all", help="All that the topics hold.")]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Only the records listed by consumer audit --emit; - is standard input.",
    ),
]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="With --file: put altered documents back, where they say that they came from "
        "the listed record. Nothing else ever overwrites.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen to MongoDB; write nothing.")
]
Rate = Annotated[float | None, typer.Option(min=0.1, help="The most records a second, on average.")]
State = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Keep the progress here; the same command then goes on from it."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Batches written at once. [default: engine.batches_in_flight]"),
]
DeadLetters = Annotated[
    str | None,
    typer.Option(
        metavar="TOPIC|none",
        help="Where dead letters go (a replay meets every old conflict again); none: only "
        "count them. [default: dead_letters.topic]",
    ),
]


def settings_from(assignments: list[str] | None, **options: object) -> Settings:
    """Load the settings; a command's own options win, then ``--set``, then the environment."""
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
            # take minutes. ``signals.exit_process`` ends the process without them.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    raise typer.Exit(asyncio.run(without_threads()))
