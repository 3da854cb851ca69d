"""The command ``consumer``, also as ``python -m consumer``. Signals come before everything else."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

from consumer import signals

LOADING_THRESHOLD = 1_000_000
"""So many new objects let the collector of garbage look while modules are loaded: all stay."""

LARGE_BLOCK = 1024 * 1024
"""Bytes from which on a block of memory is the system's own, and given back as soon as it is freed:
fetched batches and commands. glibc's own bound rises with each that is freed, up to 32 MiB, so that
they end up among small ones, which keep them."""

M_MMAP_THRESHOLD = -3
"""glibc's number of that bound."""


def give_back_large_blocks() -> None:
    """Keep glibc from raising its bound; another C library has none to be set."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def main() -> None:
    """Answer signals from here on, then load the command line and run it."""
    serves = sys.argv[1:2] == ["run"]
    give_back_large_blocks()
    gc.set_threshold(LOADING_THRESHOLD)
    signals.handle_signals_early(serves=serves)
    from consumer import cli  # noqa: PLC0415 -- it takes a second, in which a signal may come

    if not serves:
        signals.restore_keyboard_interrupt()
    cli.main()


if __name__ == "__main__":
    main()
