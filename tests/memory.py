"""Looking at what is freed at once, and what waits for the collector of garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collector() -> Iterator[None]:
    """Leave alone what is in a circle."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
