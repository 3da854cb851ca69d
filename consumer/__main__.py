"""The command ``consumer``, also as ``python -m consumer``. Signals come before everything else."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

from consumer import signals

LOADING_THRESHOLD = 1_000_000
"""So many new objects let the collector of garbage look while modules are loaded: all stay."""

MMAP_THRESHOLD = 32 * 1024 * 1024
"""Bytes below which blocks of memory lie on the heap: the most that glibc takes. Larger ones are
given back one by one, but each page of them is cleared anew, which took a tenth of all CPU."""

M_MMAP_THRESHOLD = -3
"""glibc's number of that bound."""


def give_back_freed_memory() -> None:
    """Keep glibc from raising its bounds by itself; another C library has none to be set.

    With them it would raise how much at the end of the heap it keeps when it is freed, to 64 MiB.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)


def main() -> None:
    """Answer signals from here on, then load the command line and run it."""
    serves = sys.argv[1:2] == ["run"]
    give_back_freed_memory()
    gc.set_threshold(LOADING_THRESHOLD)
    signals.handle_signals_early(serves=serves)
    from consumer import cli  # noqa: PLC0415 -- it takes a second, in which a signal may come

    if not serves:
        signals.restore_keyboard_interrupt()
    cli.main()


if __name__ == "__main__":
    main()
