"""A background task that dies takes the process down, by name."""

from __future__ import annotations

import asyncio

import pytest

from consumer.aio import supervise
from consumer.errors import ExitCode, IncidentError, TaskDiedError


async def forever(ended: asyncio.Event | None = None) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        if ended is not None:
            ended.set()


async def answer() -> int:
    return 7


async def fail() -> None:
    raise ValueError("boom")


async def test_the_result_is_the_main_tasks() -> None:
    assert await supervise(answer(), {"watch": forever()}) == 7


async def test_the_background_ends_with_the_main_task() -> None:
    ended = asyncio.Event()
    await supervise(answer(), {"watch": forever(ended)})
    assert ended.is_set()


async def test_a_background_task_that_fails_is_named() -> None:
    with pytest.raises(TaskDiedError, match="watch") as caught:
        await supervise(forever(), {"watch": fail()})
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.exit_code is ExitCode.TASK_DIED


async def test_a_background_task_that_just_ends_is_a_failure_too() -> None:
    with pytest.raises(TaskDiedError):
        await supervise(forever(), {"watch": asyncio.sleep(0)})


async def test_an_incident_in_the_background_keeps_its_exit_code() -> None:
    async def incident() -> None:
        raise IncidentError("gone")

    with pytest.raises(IncidentError):
        await supervise(forever(), {"watch": incident()})
