"""What a group's coordinator says of it, also just after it was chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, NotCoordinatorForGroupError

from consumer import aio
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.admin import Admin
from consumer.kafka.topic_ids import NOT_TOLD
from consumer.settings.model import KafkaSettings


class Coordinator:
    """Answers with these error codes one after the other, the last one for ever."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)

    async def find_coordinator(self, _group: str) -> int:
        return 1

    async def list_consumer_group_offsets(self, _group: str, _node: int) -> dict[Any, Any]:
        return {}

    async def send(self, _node: int, request: object) -> Any:
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        return SimpleNamespace(groups=[(code, "g", "Stable", "consumer", "range", [], NOT_TOLD)])

    @property
    def _client(self) -> Coordinator:
        return self


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "PAUSE", 0)


def asked(*codes: int) -> Admin:
    return Admin(cast("Any", Coordinator(*codes)), KafkaSettings())


async def test_a_coordinator_that_was_only_just_chosen_is_asked_again() -> None:
    group = await asked(NotCoordinatorForGroupError.errno, 0).describe_group("g")
    assert (group.state, group.assignor) == ("Stable", "range")


async def test_one_that_never_answers_is_trouble_that_passes() -> None:
    with pytest.raises(TransientError, match="NotCoordinatorForGroupError: group g"):
        await asked(NotCoordinatorForGroupError.errno).describe_group("g")


async def test_a_missing_grant_is_told_at_once() -> None:
    with pytest.raises(PreconditionError, match="grant READ on group g"):
        await asked(GroupAuthorizationFailedError.errno).describe_group("g")
