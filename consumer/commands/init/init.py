"""``consumer init``: makes what is missing before a first run, and says what was there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum

from rich.text import Text

from consumer.aio import retry_a_while
from consumer.checks import Provision
from consumer.commands.common.output import console, print_statuses, to_json
from consumer.commands.init.topic_provisions import InitRequest, TopicPlan, dead_letter_topics
from consumer.errors import ExitCode, must_answer
from consumer.kafka.admin import Admin, TopicDescription, open_admin
from consumer.kafka.connection import broker_errors
from consumer.mongo.store import open_store
from consumer.printable import printable_line
from consumer.settings.model import Settings
from consumer.settings.sources import shell_value

URI = '"$CONSUMER_MONGO__URI"'
"""How the commands of mongosh name the connection string."""


class Presence(StrEnum):
    """What has become of one thing. ``would be made``: in a dry run."""

    THERE = "there"
    MADE = "made"
    WOULD_BE_MADE = "would be made"
    MISSING = "missing"
    WRONG = "wrong"


STYLES = {
    Presence.THERE: "green",
    Presence.MADE: "bold green",
    Presence.WOULD_BE_MADE: "yellow",
    Presence.MISSING: "bold red",
    Presence.WRONG: "bold red",
}


@dataclass(frozen=True, slots=True)
class Provided:
    """One thing, and what has become of it."""

    provision: Provision
    presence: Presence


async def initialize(settings: Settings, request: InitRequest) -> ExitCode:
    """Make what is missing; ``FOUND`` as exit code where something is missing all the same.

    Both servers are asked before anything is made. Raises ``PreconditionError`` where one does not
    answer or refuses, after saying what had been made by then.
    """
    done: list[Provided] = []
    async with AsyncExitStack() as stack:
        with broker_errors(settings.kafka):
            admin = await stack.enter_async_context(open_admin(settings.kafka))
            known = await admin.describe([*settings.kafka.topics, *dead_letter_topics(settings)])
        store = await stack.enter_async_context(open_store(settings.mongo))
        with must_answer("MongoDB"):
            await store.answer()
            collections = await store.provisions()
        try:
            with broker_errors(settings.kafka):
                await _provide_topics(settings, admin, known, request, done)
            with must_answer("MongoDB"):
                await _provide(collections, request, done)
        finally:
            _print(done, request, settings)
    lacking = {Presence.MISSING, Presence.WRONG} & {one.presence for one in done}
    return ExitCode.FOUND if lacking else ExitCode.DONE


async def _provide_topics(
    settings: Settings,
    admin: Admin,
    known: dict[str, TopicDescription],
    request: InitRequest,
    done: list[Provided],
) -> None:
    """Make the topics that are read, then those of dead letters, which must take their records."""
    read = settings.kafka.topics
    await _provide(TopicPlan(settings, request, known).provisions(admin, read), request, done)
    made = [name for name in read if name not in known and request.topics and not request.dry_run]

    async def describe_made() -> None:
        nonlocal known
        known = known | await admin.describe(made)
        if not known.keys() >= set(made):
            raise LookupError  # another broker than the one that made it may be asked

    if made:
        with suppress(LookupError):
            await retry_a_while(describe_made, LookupError)
    letters = dead_letter_topics(settings)
    await _provide(TopicPlan(settings, request, known).provisions(admin, letters), request, done)


async def _provide(
    provisions: Iterable[Provision], request: InitRequest, done: list[Provided]
) -> None:
    """Make each that is missing and can be made, and note what has become of it."""
    for provision in provisions:
        if provision.wrong:
            presence = Presence.WRONG
        elif provision.there:
            presence = Presence.THERE
        elif provision.make is None:
            presence = Presence.MISSING
        elif request.dry_run:
            presence = Presence.WOULD_BE_MADE
        else:
            await provision.make()
            presence = Presence.MADE
        done.append(Provided(provision, presence))


def shell_lines(done: Sequence[Provided], settings: Settings) -> Iterator[str]:
    """Yield the commands as they can be typed, and as comments what there is no command for."""
    uri = shell_value("mongo.uri", settings.mongo.uri.get_secret_value())
    if uri is None and any(URI in one.provision.command for one in done):
        yield "# for mongosh set CONSUMER_MONGO__URI to the connection string (mongo.uri)"
    read = {f"topic {name}" for name in settings.kafka.topics}
    if any(one.provision.name in read and one.presence is Presence.WOULD_BE_MADE for one in done):
        yield (
            "# the topics of dead letters must take the largest record of those read: once "
            "these are there, print the rest again"
        )
    for one in done:
        found = one.provision
        said = f"# {found.name}: {one.presence}" + (f" ({found.detail})" * bool(found.detail))
        command = found.command.replace(URI, uri or URI, 1)
        yield command or printable_line(said)


def _print(done: Sequence[Provided], request: InitRequest, settings: Settings) -> None:
    out = console()
    if request.as_json:
        rows = [
            {
                "name": one.provision.name,
                "presence": one.presence,
                "detail": one.provision.detail,
                "command": one.provision.command,
            }
            for one in done
        ]
        out.out(to_json(rows))
    elif request.dry_run:
        for line in shell_lines(done, settings):
            out.out(line)
    elif done:
        statuses = (
            (Text(one.presence, STYLES[one.presence]), one.provision.name, one.provision.detail)
            for one in done
        )
        print_statuses(out, "what", "detail", statuses)
