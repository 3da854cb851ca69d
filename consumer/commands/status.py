"""``consumer status``: the group at a glance, from the brokers alone; no instance is asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

from rich.console import Group as Rows
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumer.commands.common.output import add_name_column, console
from consumer.contract.record import OffsetRange, TopicPartition
from consumer.contract.times import format_time
from consumer.errors import ExitCode, PreconditionError, TransientError, must_answer
from consumer.kafka.admin import Admin, GroupMember, open_admin
from consumer.kafka.committed import Committed, CommittedHold
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.ranges import LogExtent
from consumer.kafka.topic_ids import Operation
from consumer.printable import printable, printable_line
from consumer.quantities import count_text, duration_text, plural, rate_text
from consumer.settings.model import Settings
from consumer.terminal import write

INTERVAL = 2.0
"""Seconds between two looks, and the shortest time over which a rate is measured."""

PATIENCE = 10.0
"""Seconds that the oldest unread records are waited for, whose age is shown."""

ID_SHOWN = 8
"""Characters of a member's id: the end of it, which the coordinator chose at random."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition. Times in seconds; None: not known, or not meaningful without lag.

    ``member``: the id that the coordinator gave to whoever reads it, at ``host``.
    """

    topic: str
    partition: int
    member: str | None
    host: str | None
    beginning: int
    committed: int | None
    end: int
    lag: int
    behind: float | None
    retention_margin: float | None
    lost: int
    held: CommittedHold | None = None
    """Why its holder does not read on, as it was committed beside the offset."""
    behind_transaction: int = 0
    """How much of the lag nobody can read yet: from ``end`` on a transaction is open."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """The group. ``rate`` in records per second, ``seconds_left`` at that rate.

    ``time``: when it was asked for, RFC 3339. ``known``: whether there is such a group at all.
    """

    time: str
    group: str
    known: bool
    state: str
    members: int
    lag: int
    rate: float | None
    seconds_left: float | None
    partitions: Sequence[PartitionStatus]
    unread: Sequence[str] = ()
    """Where the first unread record could not be read, so that its age is not known."""
    stored_in: Sequence[str] = ()
    """Where the records went, as it was committed beside the offsets."""
    missing_topics: Sequence[str] = ()
    """Topics of the settings that the brokers do not have."""
    trouble: str | None = None
    """Why nothing newer is known, where the brokers are watched and do not answer."""

    @property
    def found(self) -> bool:
        """Whether records are lost, held or cannot be read, or there is no such group."""
        troubled = any(part.lost or part.held for part in self.partitions)
        return bool(self.unread) or not self.known or troubled


class _Sample(NamedTuple):
    """What was committed in sum, and when by the monotonic clock."""

    committed: int
    at: float


async def show_status(settings: Settings, *, watch: bool, as_json: bool) -> ExitCode:
    """Print the group's state, once or again and again until interrupted.

    Exit code ``PRECONDITION`` where a topic is missing, ``FOUND`` where unread records are gone,
    held or cannot be read, or where there is no such group. Raises ``PreconditionError`` where the
    brokers do not answer or refuse.
    """
    with must_answer("Kafka"):
        if watch:
            await _watch(settings, as_json=as_json)
        async with open_admin(settings.kafka) as admin, open_range_reader(settings.kafka) as reader:
            status, before = await _look(settings, admin, reader, None)
            await asyncio.sleep(INTERVAL if status.lag else 0)
            status, _ = await _look(settings, admin, reader, before)
    _print(status, as_json=as_json)
    if status.missing_topics:
        return ExitCode.PRECONDITION
    return ExitCode.FOUND if status.found else ExitCode.DONE


async def _watch(settings: Settings, *, as_json: bool) -> NoReturn:
    """Look again and again until interrupted, through every trouble once the group has been seen.

    Raises ``TransientError`` and ``PreconditionError`` before that.
    """
    status: GroupStatus | None = None
    before: _Sample | None = None
    with _shown(as_json=as_json) as show:
        while True:
            try:
                async with (
                    asyncio.timeout(settings.kafka.request_timeout),
                    open_admin(settings.kafka) as admin,
                    open_range_reader(settings.kafka) as reader,
                ):
                    # Connected anew for each look: a client clings to brokers that have died.
                    status, before = await _look(settings, admin, reader, before)
                show(status)
            except (TransientError, PreconditionError, TimeoutError) as error:
                said = str(error) or "no answer in time"
                if status is None and isinstance(error, TimeoutError):
                    raise PreconditionError(f"Kafka does not answer ({said})") from error
                if status is None:
                    raise
                show(replace(status, time=_now(), trouble=said))
            await asyncio.sleep(INTERVAL)


@contextmanager
def _shown(*, as_json: bool) -> Iterator[Callable[[GroupStatus], None]]:
    """Yield what shows a look: redrawn on a terminal, else a line of text or JSON for each."""
    out = console()
    if as_json:
        yield _write_json
    elif not out.is_terminal:
        yield _write_line
    else:
        with Live(console=out, auto_refresh=False) as live:
            yield lambda status: live.update(_table(status), refresh=True)


def _now() -> str:
    return format_time(datetime.now(UTC))


async def _look(
    settings: Settings, admin: Admin, reader: RangeReader, before: _Sample | None
) -> tuple[GroupStatus, _Sample]:
    """Return the group as it is now, and the sample that the next look's rate is measured from."""
    topics = await admin.describe(settings.kafka.topics, Operation.READ)
    there = [topics[name] for name in settings.kafka.topics if name in topics]
    partitions = [TopicPartition(t.name, number) for t in there for number in range(t.partitions)]
    group = await admin.describe_group(settings.kafka.group_id)
    ahead = await reader.high_watermarks(partitions)
    logs = await reader.extents(partitions)
    reader.unread.clear()
    unread = {p: _first_unread(group.offsets.get(p), logs[p], ahead[p]) for p in partitions}
    stamps = await _oldest_unread(reader, unread, logs)
    owners = {owned: member for member in group.members for owned in member.partitions}
    found = [
        _partition(
            p, owners.get(p), group.committed.get(p), logs[p], ahead[p],
            unread[p], _age(stamps.get(p), topics[p.topic].retention_ms),
        )
        for p in partitions
    ]  # fmt: skip
    now = _Sample(sum(group.offsets.get(p, 0) for p in partitions), time.monotonic())
    rate = None
    if before is not None and now.at > before.at:
        rate = max(now.committed - before.committed, 0) / (now.at - before.at)
    lag = sum(p.lag for p in found)
    # Several where they were not moved well.
    targets = {group.committed[p].details.target for p in partitions if p in group.committed}
    status = GroupStatus(
        _now(),
        settings.kafka.group_id,
        group.known,
        group.state,
        len(group.members),
        lag,
        rate,
        lag / rate if rate else None,
        found,
        [str(part) for part in reader.unreadable],
        sorted(str(target) for target in targets if target is not None),
        [name for name in settings.kafka.topics if name not in topics],
    )
    return status, now if before is None or now.at - before.at >= INTERVAL else before


def _first_unread(committed: int | None, log: LogExtent, ahead: int) -> int:
    """Return where reading goes on: at the beginning, too, of a log that ends before ``committed``.

    Such a log was truncated, or made again, and a run reads all of it.
    """
    if committed is None or committed > max(log.end, ahead):
        return log.beginning
    return max(committed, log.beginning)


async def _oldest_unread(
    reader: RangeReader,
    unread: Mapping[TopicPartition, int],
    logs: Mapping[TopicPartition, LogExtent],
) -> dict[TopicPartition, int]:
    """Return the timestamp in ms of the first unread record of each partition that has one."""
    ranges = [
        OffsetRange(partition, first, first + 1)
        for partition, first in unread.items()
        if first < logs[partition].end
    ]
    return {
        partition: records[0].timestamp_ms
        async for partition, records in reader.read(
            ranges, max_records=len(ranges) or 1, patience=PATIENCE
        )
    }


def _age(stamp_ms: int | None, retention_ms: int | None) -> tuple[float | None, float | None]:
    """Return the seconds since the first unread record, and until it is deleted."""
    if stamp_ms is None or stamp_ms < 0:
        return None, None
    behind = max(time.time() - stamp_ms / 1000, 0.0)
    return behind, retention_ms / 1000 - behind if retention_ms else None


def _partition(
    partition: TopicPartition,
    member: GroupMember | None,
    kept: Committed | None,
    log: LogExtent,
    ahead: int,
    first_unread: int,
    age: tuple[float | None, float | None],
) -> PartitionStatus:
    committed = None if kept is None else kept.offset
    lost = 0 if committed is None else max(log.beginning - committed, 0)
    return PartitionStatus(
        partition.topic, partition.partition, member.id if member else None,
        member.host if member else None, log.beginning, committed, log.end,
        max(log.end - first_unread, 0) + max(ahead - log.end, 0), *age, lost,
        None if kept is None else kept.details.held, max(ahead - log.end, 0),
    )  # fmt: skip


def _print(status: GroupStatus, *, as_json: bool) -> None:
    if as_json:
        _write_json(status)
    else:
        console().print(_table(status))


def _write_json(status: GroupStatus) -> None:
    write(json.dumps(asdict(status)) + "\n", flush=True)


def _write_line(status: GroupStatus) -> None:
    """Write what a look has found, and all that is wrong, on one line."""
    wrong = [f"{_name(part)} lost {part.lost}" for part in status.partitions if part.lost]
    wrong += [_held(part, part.held) for part in status.partitions if part.held]
    wrong += [status.trouble] if status.trouble else []
    said = "; ".join([_head(status), *wrong, *_remarks(status)])
    write(f"{status.time} {printable_line(said)}\n", flush=True)


def _head(status: GroupStatus) -> str:
    rate = rate_text(status.rate)
    left = f", {duration_text(status.seconds_left)} left" if status.lag and status.rate else ""
    state = printable(status.state) if status.known else "there is no such group"
    return (
        f"{printable(status.group)}: {state}, {plural(status.members, 'member')}, "
        f"lag {count_text(status.lag)}, {rate}{left}"
    )


def _name(part: PartitionStatus) -> str:
    return f"{printable(part.topic)}-{part.partition}"


def _table(status: GroupStatus) -> RenderableType:
    head = Text(_head(status))
    if status.trouble:
        head = Text.assemble((f"{printable_line(status.trouble)}\n", "bold red"), head)
    for target in status.stored_in:
        head.append(f"\nstored in {printable(target)}")
    table = Table(box=None, pad_edge=False)
    add_name_column(table, "partition", map(_name, status.partitions))
    table.add_column("member", overflow="ellipsis", no_wrap=True)
    for name in ("committed", "end", "lag", "behind", "until deleted", "lost"):
        table.add_column(name, justify="right")
    for part in status.partitions:
        table.add_row(
            Text(_name(part)),
            Text(_member(part)),
            "-" if part.committed is None else str(part.committed),
            str(part.end),
            count_text(part.lag),
            duration_text(part.behind),
            duration_text(part.retention_margin),
            Text(str(part.lost), "bold red") if part.lost else Text("0"),
        )
    held = [Text(_held(part, part.held), "bold red") for part in status.partitions if part.held]
    return Rows(head, Text(), table, *held, *map(Text, _remarks(status)))


def _remarks(status: GroupStatus) -> Iterator[str]:
    """Yield a line for whatever cannot be read."""
    for part in status.partitions:
        if part.behind_transaction:
            yield (
                f"{_name(part)}: a transaction is open at offset {part.end}, and keeps "
                f"{plural(part.behind_transaction, 'offset')} from being read"
            )
    yield from map(printable, status.unread)
    if status.missing_topics:
        yield f"no such topic: {', '.join(map(printable, status.missing_topics))}"


def _held(part: PartitionStatus, held: CommittedHold) -> str:
    reasons = ", ".join(f"{printable(reason)} {count}" for reason, count in held.reasons.items())
    why = f" ({reasons})" if reasons else ""
    return f"{_name(part)} is held since {printable(held.since)} at offset {held.offset}{why}"


def _member(part: PartitionStatus) -> str:
    """The end of its id, which tells it from others at the same host, and the host."""
    if part.member is None:
        return "-"
    return printable(f"{part.member[-ID_SHOWN:]} {part.host}")
