"""What the commands do, from their options to their exit code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from consumer.commands.dead_letters.dead_letter_context import DeadLetterContext, open_context, warn
from consumer.commands.dead_letters.dead_letter_groups import Groups
from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_report import (
    list_letter,
    place,
    rehearse,
    show_groups,
    show_letter,
)
from consumer.commands.dead_letters.dead_letter_selection import Selection
from consumer.commands.dead_letters.dead_letter_status import state_topic
from consumer.commands.dead_letters.dead_letter_topics import STATE_CONFIGS, ensure, parking_configs
from consumer.commands.dead_letters.discard import Discard, DiscardTally
from consumer.commands.dead_letters.redrive import RedriveRun, Tally, utc_now
from consumer.commands.dead_letters.redrive_policy import (
    Redrive,
    RedrivePolicy,
    RedriveRules,
    Refusal,
    SkipReason,
)
from consumer.commands.dead_letters.redriven_record import Destination
from consumer.commands.dead_letters.transform import Transform
from consumer.errors import ExitCode
from consumer.kafka.connection import BrokersError
from consumer.kafka.dead_letter_topic import max_dead_letter_bytes
from consumer.kafka.producer import NO_LIMIT, Producer, open_producer
from consumer.kafka.rate_limit import RateLimiter
from consumer.settings import Settings
from consumer.signals import run_interruptible
from consumer.terminal import complain, show


@dataclass(frozen=True, slots=True)
class Work:
    """What all commands are told. ``dealt_with``: also letters that have a fate."""

    settings: Settings
    selection: Selection
    parked: bool = False
    dealt_with: bool = False
    as_json: bool = False

    @property
    def state_topic(self) -> str:
        """The topic that remembers what became of these letters."""
        letters = self.settings.dead_letters
        return state_topic(letters.parking_topic if self.parked else letters.topic)


@dataclass(frozen=True, slots=True)
class RedriveOptions:
    """What a redrive is told beside. ``rate``: records a second; None: as fast as it goes."""

    rehearsal: bool
    rate: float | None
    limit: int | None
    transform: Transform | None
    max_attempts: int
    again: bool


def run_list(work: Work, *, each: bool, keys: bool) -> ExitCode:
    """List letters. Raises ``BrokersError``."""
    return run_interruptible(_list(work, each=each, keys=keys))


async def _list(work: Work, *, each: bool, keys: bool) -> ExitCode:
    groups, hidden = Groups(), 0
    async with (
        open_context(work.settings, parked=work.parked) as context,
        aclosing(context.letters(work.selection, "reading dead letters", quiet=each)) as batches,
    ):
        async for letters in batches:
            for letter in letters:
                fate = context.memory.fate(letter.state_key)
                if fate is not None and not work.dealt_with:
                    hidden += 1
                    continue
                groups.add(letter, fate, copy=not context.memory.first_seen(letter.state_key))
                if each:
                    list_letter(letter, fate, keys=keys, as_json=work.as_json)
    if not each:
        show_groups(groups, fates=work.dealt_with, as_json=work.as_json)
    if hidden:
        warn(f"{hidden:,} letters more have been dealt with; --all lists them too")
    elif not groups.letters:
        warn("no such dead letters")
    return context.exit_code()


def run_show(work: Work, *, limit: int, full: bool) -> ExitCode:
    """Show letters with their payloads. Raises ``BrokersError``."""
    return run_interruptible(_show(work, limit=limit, full=full))


async def _show(work: Work, *, limit: int, full: bool) -> ExitCode:
    shown = 0
    async with (
        open_context(work.settings, parked=work.parked) as context,
        aclosing(context.letters(work.selection, "looking for them", quiet=True)) as batches,
    ):
        async for letters in batches:
            for letter in letters:
                if shown == limit:
                    warn(f"there may be more than these {limit:,}; --limit shows more")
                    return context.exit_code()
                fate = context.memory.fate(letter.state_key)
                show_letter(letter, fate, full=full, as_json=work.as_json)
                shown += 1
    if not shown:
        warn("no such dead letters")
    return context.exit_code(ExitCode.DONE if shown else ExitCode.FOUND)


class ConsoleReporter:
    """Says what cannot be sent, and in a rehearsal what would be."""

    def __init__(self, *, rehearsal: bool, as_json: bool) -> None:
        """``rehearsal``: nothing is sent."""
        self._rehearsal = rehearsal
        self._as_json = as_json

    def sending(self, redrive: Redrive) -> None:
        """See ``Reporter``."""
        if self._rehearsal:
            rehearse(redrive, as_json=self._as_json)

    def refused(self, letter: DeadLetterRecord | UnreadableDeadLetter, refused: Refusal) -> None:
        """See ``Reporter``."""
        where = place(letter.position)
        if isinstance(letter, DeadLetterRecord):
            where += f" (from {place(letter.origin)})"
        complain(f"{where}: {refused.cause.value}: {refused.detail}")


def run_redrive(work: Work, options: RedriveOptions) -> ExitCode:
    """Send letters back. Raises ``BrokersError``."""
    return run_interruptible(_redrive(work, options))


async def _redrive(work: Work, options: RedriveOptions) -> ExitCode:
    tally = Tally()
    real = not options.rehearsal
    try:
        async with (
            open_context(
                work.settings,
                parked=work.parked,
                marks=real,
                sends=real,
            ) as context,
            _outbox(context, rehearsal=not real) as outbox,
            aclosing(context.letters(work.selection, "redriving", quiet=not real)) as batches,
        ):
            if not (options.again or work.dealt_with):
                context.require_all_marks()
            await _prepared(context, work, options, outbox, tally).run(batches)
    except asyncio.CancelledError:
        warn("interrupted")
        _show_tally(tally, work, options)
        raise
    except BrokersError:
        if tally.selected:
            _show_tally(tally, work, options)
        raise
    _show_tally(tally, work, options)
    return context.exit_code(ExitCode.FOUND if tally.refused else ExitCode.DONE)


@asynccontextmanager
async def _outbox(context: DeadLetterContext, *, rehearsal: bool) -> AsyncIterator[Producer | None]:
    """Open what sends, with a topic that remembers; nothing of either for a rehearsal."""
    if rehearsal:
        yield None
        return
    kafka, letters = context.settings.kafka, context.settings.dead_letters
    if context.state_topic not in context.topics:
        partitions = context.topics[context.letters_topic].partitions
        await ensure(kafka, context.state_topic, partitions, STATE_CONFIGS, warn)
    elif "cleanup.policy" not in context.topics[context.state_topic].configs:
        warn(
            f"the brokers do not tell whether {context.state_topic} is compacted (no grant for "
            "DESCRIBE_CONFIGS?): one that deletes would forget what was done"
        )
    max_bytes = letters.max_request_bytes or NO_LIMIT
    async with open_producer(kafka, max_bytes, warn, idempotent=letters.idempotent) as outbox:
        yield outbox


def _prepared(
    context: DeadLetterContext,
    work: Work,
    options: RedriveOptions,
    outbox: Producer | None,
    tally: Tally,
) -> RedriveRun:
    kafka, letters = context.settings.kafka, context.settings.dead_letters

    async def ready_to_park() -> None:
        if letters.parking_topic not in context.topics:
            described = context.topics[context.letters_topic]
            configs = parking_configs(described, max_dead_letter_bytes(letters, None))
            await ensure(kafka, letters.parking_topic, described.partitions, configs, warn)

    destinations = {
        name: Destination.from_configs(name, topic.partitions, topic.configs)
        for name, topic in context.topics.items()
        if name in kafka.topics
    }
    _warn_of_unknown_retention(destinations.values())
    policy = RedriveRules(
        topics=frozenset(kafka.topics),
        destinations=destinations,
        parking_topic=None if context.parked else letters.parking_topic,
        max_attempts=options.max_attempts,
        key_policy=kafka.key_policy,
        transform=options.transform,
        again=options.again,
        dealt_with=work.dealt_with,
    )
    return RedriveRun(
        judge=RedrivePolicy(policy, context.memory),
        outbox=outbox,
        state_topic=context.state_topic,
        reporter=ConsoleReporter(rehearsal=options.rehearsal, as_json=work.as_json),
        limiter=RateLimiter(options.rate),
        limit=options.limit,
        ready_to_park=ready_to_park,
        tally=tally,
    )


def _warn_of_unknown_retention(destinations: Iterable[Destination]) -> None:
    unknown = sorted(one.name for one in destinations if not one.retention_known)
    if unknown:
        warn(
            f"the brokers do not tell how long they keep records of {', '.join(unknown)} (no grant "
            "for DESCRIBE_CONFIGS?): records go there with the time of now, since an old timestamp "
            "might have them deleted before they are read; the header redrive-timestamp-ms keeps it"
        )


def _show_tally(tally: Tally, work: Work, options: RedriveOptions) -> None:
    sent = {fate.value: count for fate, count in tally.fates.items()}
    refused = {f"refused_{cause.value}": count for cause, count in tally.refused.items()}
    counts = {
        "redriven": 0,
        **sent,
        **{left.value: count for left, count in tally.left.items()},
        **refused,
    }
    if options.rehearsal:
        counts = {f"would_be_{name}" if name in sent else name: n for name, n in counts.items()}
    show("Dead letters", counts, as_json=work.as_json)
    if tally.clock:
        warn(
            f"sent with the time of now: {tally.clock:,}, whose own timestamp their topic might "
            "refuse or soon delete; the header redrive-timestamp-ms keeps it"
        )
    if tally.unconfirmed:
        warn(
            f"sent without an answer: {tally.unconfirmed:,}, which may have arrived; the same "
            "command sends them again"
        )
    if tally.unremembered:
        warn(
            f"sent and not remembered: {tally.unremembered:,}, because {work.state_topic} did not "
            "acknowledge their marks; the same command sends them again"
        )
    if unknown := tally.left[SkipReason.UNKNOWN]:
        warn(
            f"left alone: {unknown:,}, whose mark in {work.state_topic} this "
            "version does not know; --all takes them too"
        )
    if tally.limit_reached:
        rest = "" if options.again else "; the same command without it sends the rest"
        warn(f"stopped at --limit {options.limit}{rest}")


def run_discard(work: Work, because: str, *, rehearsal: bool) -> ExitCode:
    """Mark letters as dealt with. Raises ``BrokersError``."""
    return run_interruptible(_discard(work, because, rehearsal=rehearsal))


async def _discard(work: Work, because: str, *, rehearsal: bool) -> ExitCode:
    tally = DiscardTally()
    try:
        async with (
            open_context(work.settings, parked=work.parked, marks=not rehearsal) as context,
            _outbox(context, rehearsal=rehearsal) as outbox,
            aclosing(context.letters(work.selection, "discarding")) as batches,
        ):
            await Discard(
                context.memory,
                outbox,
                context.state_topic,
                because,
                work.dealt_with,
                utc_now,
                tally,
            ).run(batches)
    except (asyncio.CancelledError, BrokersError):
        if tally.selected:
            _show_discarded(tally, work, rehearsal=rehearsal)
        raise
    _show_discarded(tally, work, rehearsal=rehearsal)
    return context.exit_code()


def _show_discarded(tally: DiscardTally, work: Work, *, rehearsal: bool) -> None:
    counts = {
        "would_be_discarded" if rehearsal else "discarded": tally.discarded,
        "copies": tally.copies,
        "dealt_with_before": tally.dealt_with_before,
    }
    show("Dead letters", counts, as_json=work.as_json)
    if tally.unconfirmed:
        warn(
            f"marked without an answer: {tally.unconfirmed:,}, which may count as discarded; the "
            "same command marks the rest"
        )
