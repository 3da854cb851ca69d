"""The command ``consumer``, also as ``python -m consumer``. Signals come before everything else."""

from __future__ import annotations

import gc
import sys

from consumer import signals

GC_THRESHOLD = 50_000
"""So many new objects let the collector of garbage look: loading makes more that all stay, a batch
of thousands none that are in a circle."""


def main() -> None:
    """Answer signals from here on, then load the command line and run it."""
    serves = sys.argv[1:2] == ["run"]
    gc.set_threshold(GC_THRESHOLD)
    signals.handle_signals_early(serves=serves)
    from consumer import cli  # noqa: PLC0415 -- it takes a second, in which a signal may come

    if not serves:
        signals.restore_keyboard_interrupt()
    cli.main()


if __name__ == "__main__":
    main()
