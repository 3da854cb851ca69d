from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.commands.dead_letters.status_index import StatusIndex, open_status_index


@pytest.fixture
def memory() -> Iterator[StatusIndex]:
    with open_status_index() as opened:
        yield opened
