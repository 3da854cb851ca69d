"""A replay that is interrupted, or meets trouble, goes on from where it was."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from consumer.commands.replay import run_replay as run_replay_module
from consumer.commands.replay.replay_request import ReplayRequest
from consumer.commands.replay.run_replay import run_replay
from consumer.contract.rejection import Reason
from consumer.errors import ExitCode, SettingsError
from consumer.settings.model import DeadLetterSettings
from tests.builders import encoded, event
from tests.integration.replay.conftest import EVERYTHING, Log
from tests.integration.replay.logs import PARTITIONS, documents
from tests.servers.topics import create_topics, delete_topic


async def test_a_replay_that_is_stopped_goes_on_from_its_state(
    tidy_log: Log, tmp_path: Path
) -> None:
    log, state = tidy_log, str(tmp_path / "state")
    stop = asyncio.Event()
    slow = ReplayRequest(everything=True, state=state, rate=400, send_dead_letters=False)
    running = asyncio.ensure_future(run_replay(log.settings("b"), slow, stop))
    await log.something_is_stored("b")
    stop.set()
    stopped = await running
    assert stopped is not None
    assert not stopped.complete
    assert 0 < stopped.total.records < len(log.records)
    rest = await log.replay(
        ReplayRequest(everything=True, state=state, send_dead_letters=False), "b"
    )
    assert rest.complete
    assert rest.total.records == len(log.records) - stopped.total.records
    await log.replay(EVERYTHING, "a")
    assert documents(log.uri, f"{log.name}-b") == documents(log.uri, f"{log.name}-a")


async def test_a_replay_that_is_killed_misses_nothing_when_it_goes_on(
    tidy_log: Log, tmp_path: Path
) -> None:
    log, state = tidy_log, tmp_path / "state"
    settings = log.settings("b")
    command = [
        *(sys.executable, "-m", "consumer", "replay", "--all", "--state", str(state)),
        *("--bootstrap-servers", log.servers, "--mongo-uri", log.uri),
        *("--database", settings.mongo.database, "--dead-letters", log.letters, "--json"),
        *("--set", f"kafka.topics={','.join(log.topics)}", "--set", "engine.commit_interval=0.1"),
        *("--set", f"dead_letters.idempotent={str(not log.embedded).lower()}"),
    ]
    killed = await asyncio.create_subprocess_exec(*command, "--rate", "150")
    async with asyncio.timeout(60):
        while not progress_in(state) > 0:  # noqa: ASYNC110 -- a file tells nobody of a change
            await asyncio.sleep(0.01)
    killed.kill()
    assert await killed.wait() == -signal.SIGKILL
    assert progress_in(state) < len(log.records)
    goes_on = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await goes_on.communicate()
    assert goes_on.returncode == ExitCode.DONE
    report = json.loads(out)
    assert report["complete"]
    assert report["records"] < len(log.records)
    await log.replay(EVERYTHING, "a")
    assert documents(log.uri, f"{log.name}-b") == documents(log.uri, f"{log.name}-a")


def progress_in(state: Path) -> int:
    """How many offsets a state file says are done."""
    if not state.exists():
        return 0
    said = json.loads(state.read_text())
    done = sum(said["positions"]) - sum(part["first"] for part in said["ranges"])
    return int(done)


@pytest.mark.reliability("F90")
async def test_a_state_that_cannot_be_written_ends_the_command_before_anything_is_applied(
    log: Log, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        await log.replay(ReplayRequest(everything=True, state=str(tmp_path / "missing" / "state")))
    assert documents(log.uri, f"{log.name}-a")["conversation_events"] == []


@pytest.mark.reliability("F90")
async def test_no_share_of_dead_letters_holds_up_a_replay(empty_log: Log) -> None:
    await empty_log.publish(*[(empty_log.topics[1], 0, b"k", b"not JSON")] * 20)
    letters = DeadLetterSettings(
        topic=empty_log.letters,
        idempotent=not empty_log.embedded,
        breaker_share=0.1,
        breaker_window=10,
        breaker_minimum=10,
    )
    async with asyncio.timeout(30):
        report = await empty_log.replay(EVERYTHING, dead_letters=letters)
    assert report.complete
    assert report.total.reasons == {Reason.UNDECODABLE: 20}


async def test_a_finished_state_has_nothing_left_to_do(log: Log, tmp_path: Path) -> None:
    request = ReplayRequest(everything=True, state=str(tmp_path / "state"))
    await log.replay(request)
    await log.publish((log.topics[1], 0, b"s", encoded(event("s", "later"))))
    again = await log.replay(request)
    assert again.complete
    assert again.total.records == 0


async def test_a_state_of_another_selection_is_refused(log: Log, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    await log.replay(ReplayRequest(partitions=(0,), state=state))
    with pytest.raises(SettingsError, match="--partition differs"):
        await log.replay(ReplayRequest(partitions=(1,), state=state))


@pytest.mark.real_kafka
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.reliability("F80")
async def test_a_topic_that_goes_while_it_is_read_ends_the_replay_with_a_finding(
    empty_log: Log,
    monkeypatch: pytest.MonkeyPatch,
    again: bool,
) -> None:
    monkeypatch.setattr(run_replay_module, "TOPICS_INTERVAL", 0.5)
    log, place = empty_log, (empty_log.topics[1], 0, b"s")
    await log.publish(*[(*place, encoded(event("s", f"e{n}"))) for n in range(300)])
    running = asyncio.ensure_future(
        run_replay(log.settings(), ReplayRequest(everything=True, rate=20), asyncio.Event())
    )
    await log.something_is_stored("a")
    await delete_topic(log.servers, place[0])
    if again:
        await create_topics(log.servers, place[0], partitions=PARTITIONS)
    async with asyncio.timeout(30):
        report = await running
    assert report is not None
    assert report.exit_code is ExitCode.FOUND
    assert {part.partition.topic for part in report.progress.unread} == {place[0]}
    assert report.total.records < 300
