"""The progress of a replay outlives it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from consumer.commands.replay.replay_request import ReplayProgress, StateFile
from consumer.contract.record import OffsetRange, TopicPartition
from consumer.errors import SettingsError
from consumer.kafka.ranges import Bounds, UnreadRange

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
UNREAD = [UnreadRange(P0, 7, 9, "deleted")]
PROGRESS = ReplayProgress(
    [OffsetRange(P0, 5, 50), OffsetRange(P1, 0, 9)],
    {P0: 20, P1: 0},
    UNREAD,
    Bounds(from_ms=1_772_618_400_000),
)
SELECTION: dict[str, object] = {"--topic": ["t"], "--session": [], "--from-offset": None}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    StateFile(tmp_path / "state", SELECTION).save(PROGRESS)
    assert StateFile(tmp_path / "state", dict(SELECTION)).load() == PROGRESS


def test_a_range_without_a_position_begins_at_its_first_offset(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state", SELECTION)
    file.save(ReplayProgress(PROGRESS.ranges, {}))
    loaded = file.load()
    assert loaded is not None
    assert loaded.positions == {P0: 5, P1: 0}


def test_without_a_file_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "state", SELECTION).load() is None


def test_another_selection_is_refused_by_the_options_that_differ(tmp_path: Path) -> None:
    StateFile(tmp_path / "state", SELECTION).save(PROGRESS)
    other = SELECTION | {"--session": ["s"], "--from-offset": 3}
    with pytest.raises(SettingsError, match=r"\(--from-offset, --session differs\)") as refused:
        StateFile(tmp_path / "state", other).load()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "\ud800", '{"format": 1, "selection": {}, "ranges": [{"topic": 1}]}']
)
def test_a_file_that_is_none_of_ours_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="--state"):
        StateFile(path, SELECTION).load()
    assert path.read_bytes() == before


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    StateFile(path, SELECTION).save(PROGRESS)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(SettingsError, match="another version"):
        StateFile(path, SELECTION).load()


def test_a_directory_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written") as refused:
        StateFile(tmp_path / "missing" / "state", SELECTION).save(PROGRESS)
    assert len(str(refused.value).splitlines()) == 1


def test_a_crash_while_writing_leaves_the_older_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StateFile(tmp_path / "state", SELECTION)
    file.save(PROGRESS)

    def crash(_descriptor: int) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", crash)
        with pytest.raises(SettingsError):
            file.save(ReplayProgress(PROGRESS.ranges, {P0: 50, P1: 9}))
    assert file.load() == PROGRESS


def test_the_file_is_replaced_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "state"
    file = StateFile(path, SELECTION)
    file.save(PROGRESS)
    older = tmp_path / "older"
    older.hardlink_to(path)
    file.save(ReplayProgress(PROGRESS.ranges, {P0: 50, P1: 9}))
    assert StateFile(older, SELECTION).load() == PROGRESS
    assert sorted(tmp_path.iterdir()) == [older, path]


@pytest.mark.reliability("F80")
def test_a_state_of_another_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    StateFile(path, SELECTION, {"t": "first", "u": None}).save(PROGRESS)
    assert StateFile(path, SELECTION, {"t": "first", "u": "any"}).load() == PROGRESS
    # A broker that does not tell ids, or a topic that was not read yet, says nothing.
    assert StateFile(path, SELECTION, {"t": None}).load() == PROGRESS
    with pytest.raises(SettingsError, match="another log of t, which was deleted and made again"):
        StateFile(path, SELECTION, {"t": "second"}).load()


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.reliability("F88")
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path, there: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target, link = elsewhere / "state", tmp_path / "link"
    if there:
        StateFile(target, SELECTION).save(ReplayProgress(PROGRESS.ranges, {}))
    link.symlink_to(target)
    StateFile(link, SELECTION).save(PROGRESS)
    assert link.is_symlink()
    assert StateFile(target, SELECTION).load() == StateFile(link, SELECTION).load() == PROGRESS
