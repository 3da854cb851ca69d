"""What a replay is asked for, and how far it has come: its options and the file of ``--state``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from consumer.commands.common.record_selection import RecordSelection, selection_violations
from consumer.contract.record import OffsetRange, TopicPartition
from consumer.errors import SettingsError
from consumer.kafka.ranges import EVERYTHING, Bounds, UnreadRange
from consumer.kafka.topic_ids import TopicIds
from consumer.mongo.clients import servers_of
from consumer.settings.model import Settings


@dataclass(frozen=True, slots=True)
class ReplayRequest(RecordSelection):
    """The options of the command: what is selected, and what is done with it."""

    everything: bool = False
    file: str | None = None
    repair: bool = False
    dry_run: bool = False
    rate: float | None = None
    state: str | None = None
    send_dead_letters: bool = True
    as_json: bool = False

    @property
    def sends_dead_letters(self) -> bool:
        """Whether dead letters go anywhere: a dry run only counts them."""
        return self.send_dead_letters and not self.dry_run


def check_request(request: ReplayRequest, settings: Settings) -> None:
    """Refuse what does not go together. Raises ``SettingsError`` with a line for each."""
    violations = list(_violations(request, settings))
    if violations:
        raise SettingsError("\n".join(violations))


def _violations(request: ReplayRequest, settings: Settings) -> Iterable[str]:
    if request.file is not None:
        if request.selects or request.everything:
            yield "--file lists the records itself: no other selection goes with it"
    elif request.everything:
        if request.selects:
            yield "--all goes with no other selection"
    elif not request.selects:
        yield "nothing is selected: say which part of the topics to replay, or --all"
    yield from selection_violations(request)
    if request.repair and request.file is None:
        yield "--repair restores what a file lists as altered: it needs --file"
    if request.dry_run and request.state is not None:
        yield "--state keeps the progress of a replay: a dry run has none"
    if request.sends_dead_letters and settings.dead_letters.topic in request.topics:
        yield (
            f"--topic {settings.dead_letters.topic} is where dead letters go: a replay of it "
            "would feed itself (consumer dead-letters redrive sends them back)"
        )


# --- progress -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """A replay's ranges as they were at its start, and from where each is to be read on.

    ``unread``: what below that could not be read. ``bounds``: the times that were asked for,
    as they were when ``2h ago`` was said.
    """

    ranges: Sequence[OffsetRange]
    positions: Mapping[TopicPartition, int]
    unread: Sequence[UnreadRange] = ()
    bounds: Bounds = EVERYTHING

    def position(self, part: OffsetRange) -> int:
        """Return from where a range is to be read on."""
        return self.positions.get(part.partition, part.first)


def selection_facts(
    request: ReplayRequest,
    settings: Settings,
    digest: str | None,
    topic_ids: TopicIds | None = None,
) -> dict[str, object]:
    """Return what a state file must agree on with the command that goes on from it.

    ``digest`` is the file's. Each name is the option to look at where they differ. Where every
    topic has an id, that tells the brokers, however they are addressed.
    """
    known = bool(topic_ids) and None not in (topic_ids or {}).values()
    brokers = None if known else sorted(settings.kafka.bootstrap_servers)
    return {
        "--topic": sorted(request.topics or settings.kafka.topics),
        "--partition": sorted(request.partitions),
        "--from-offset": request.from_offset,
        "--to-offset": request.to_offset,
        "--from-time": request.from_time,
        "--to-time": request.to_time,
        "--session": sorted(request.sessions),
        "--all-partitions": request.all_partitions,
        "--type": sorted(request.kinds),
        "--file": digest,
        "--repair": request.repair,
        "--mongo-uri": servers_of(settings.mongo.uri.get_secret_value()),
        "--database": settings.mongo.database,
        "mongo.sessions": settings.mongo.sessions,
        "mongo.events": settings.mongo.events,
        "--bootstrap-servers": brokers,
    }


class _State(BaseModel):
    """What the file holds. ``positions``: one for each of the ranges."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[3]
    selection: dict[str, Any]
    topic_ids: dict[str, str]
    bounds: Bounds
    ranges: list[OffsetRange]
    positions: list[int]
    unread: list[UnreadRange]


class StateFile:
    """One file for one selection. Written as a whole, or not at all."""

    def __init__(
        self, path: Path, selection: Mapping[str, object], topic_ids: TopicIds | None = None
    ) -> None:
        """``selection`` names what the file must agree on, by the options of the command.

        ``topic_ids``: which logs the offsets are of, as far as the brokers have ids.
        """
        self._path = path
        self._topic_ids = {
            topic: known for topic, known in (topic_ids or {}).items() if known is not None
        }
        self._selection = json.loads(json.dumps(dict(selection)))

    def load(self) -> ReplayProgress | None:
        """Return the progress to go on from, None where there is no file yet.

        Raises ``SettingsError`` where the file belongs to another selection, to other servers or
        to other logs, or is none of ours.
        """
        state = self._read()
        if state is None:
            return None
        differing = sorted(
            name
            for name in self._selection.keys() | state.selection.keys()
            if self._selection.get(name) != state.selection.get(name)
        )
        if differing:
            raise SettingsError(
                f"--state {self._path} belongs to another replay ({', '.join(differing)} differs): "
                "name another file, or repeat that command"
            )
        made_anew = sorted(
            topic
            for topic, known in state.topic_ids.items()
            if self._topic_ids.get(topic, known) != known
        )
        if made_anew:
            raise SettingsError(
                f"--state {self._path} is of another log of {', '.join(made_anew)}, which was "
                "deleted and made again since, or lies on other brokers: name another file"
            )
        partitions = [part.partition for part in state.ranges]
        positions = dict(zip(partitions, state.positions, strict=False))
        return ReplayProgress(state.ranges, positions, state.unread, state.bounds)

    def _read(self) -> _State | None:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SettingsError(f"--state {self._path} cannot be read ({why})") from error
        try:
            return _State.model_validate_json(text)
        except ValidationError as error:
            raise SettingsError(
                f"--state {self._path} is not the state of a replay, or of another version"
            ) from error

    def save(self, progress: ReplayProgress) -> None:
        """Replace the file; on the disk when this returns.

        Raises ``SettingsError`` where it cannot be written.
        """
        state = _State(
            format=3,
            selection=self._selection,
            topic_ids=self._topic_ids,
            bounds=progress.bounds,
            ranges=list(progress.ranges),
            positions=[progress.position(part) for part in progress.ranges],
            unread=list(progress.unread),
        )
        try:
            _replace(self._path, state.model_dump_json(indent=1))
        except OSError as error:
            raise SettingsError(
                f"--state {self._path} cannot be written ({error.strerror})"
            ) from error


def _replace(path: Path, text: str) -> None:
    """Write beside the file and rename: a crash leaves the old state or the new one.

    Where the path is a link, what it points to is replaced, and the link stays.
    """
    path = path.resolve()
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
