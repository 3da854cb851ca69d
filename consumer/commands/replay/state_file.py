"""The progress of a replay, in a file of the user's, so that it can go on after anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.contract.record import TopicPartition
from consumer.errors import SettingsError
from consumer.kafka.ranges import EVERYTHING, Bounds, OffsetRange, UnreadRange
from consumer.kafka.topic_ids import TopicIds

FORMAT = 2


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    topic: str
    partition: int = Field(ge=0)
    first: int = Field(ge=0)
    next: int = Field(ge=0)
    end: int = Field(ge=0)


class _Unread(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    topic: str
    partition: int = Field(ge=0)
    first: int = Field(ge=0)
    end: int = Field(ge=0)
    cause: str


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    selection: dict[str, Any]
    topic_ids: dict[str, str]
    from_ms: int | None
    to_ms: int | None
    ranges: list[_Part]
    unread: list[_Unread]


@dataclass(frozen=True, slots=True)
class Progress:
    """A replay's ranges as they were at its start, and from where each is to be read on.

    ``unread``: what below that could not be read. ``bounds``: the times that were asked for,
    as they were when ``2h ago`` was said.
    """

    ranges: Sequence[OffsetRange]
    positions: Mapping[TopicPartition, int]
    unread: Sequence[UnreadRange] = ()
    bounds: Bounds = EVERYTHING


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

    def load(self) -> Progress | None:
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
        placed = {TopicPartition(part.topic, part.partition): part for part in state.ranges}
        return Progress(
            [OffsetRange(partition, part.first, part.end) for partition, part in placed.items()],
            {partition: part.next for partition, part in placed.items()},
            [
                UnreadRange(TopicPartition(one.topic, one.partition), one.first, one.end, one.cause)
                for one in state.unread
            ],
            Bounds(from_ms=state.from_ms, to_ms=state.to_ms),
        )

    def _read(self) -> _State | None:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"--state {self._path} cannot be read ({type(error).__name__})"
            ) from error
        try:
            state = _State.model_validate_json(text)
        except ValidationError as error:
            raise SettingsError(f"--state {self._path} is not the state of a replay") from error
        if state.format != FORMAT:
            raise SettingsError(f"--state {self._path} was written by another version")
        return state

    def save(self, progress: Progress) -> None:
        """Replace the file; on the disk when this returns.

        Raises ``SettingsError`` where it cannot be written.
        """
        state = _State(
            format=FORMAT,
            selection=self._selection,
            topic_ids=self._topic_ids,
            from_ms=progress.bounds.from_ms,
            to_ms=progress.bounds.to_ms,
            ranges=[
                _Part(
                    topic=part.partition.topic,
                    partition=part.partition.partition,
                    first=part.first,
                    next=progress.positions.get(part.partition, part.first),
                    end=part.end,
                )
                for part in progress.ranges
            ],
            unread=[
                _Unread(
                    topic=part.partition.topic,
                    partition=part.partition.partition,
                    first=part.first,
                    end=part.end,
                    cause=part.cause,
                )
                for part in progress.unread
            ],
        )
        try:
            _replace(self._path, state.model_dump_json(indent=1))
        except OSError as error:
            raise SettingsError(
                f"--state {self._path} cannot be written ({type(error).__name__})"
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
