from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.commands.dead_letters.dead_letter_status import StatusIndex
from tests.unit.commands.dead_letters.builders import open_status_index


@pytest.fixture
def statuses() -> Iterator[StatusIndex]:
    with open_status_index() as opened:
        yield opened
