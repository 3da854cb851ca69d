from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.commands.dead_letters.status_index import Memory, open_memory


@pytest.fixture
def memory() -> Iterator[Memory]:
    with open_memory() as opened:
        yield opened
