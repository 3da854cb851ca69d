"""The command ``producer-tools``, also as ``python -m producer_tools``."""

from __future__ import annotations

from consumer import signals


def main() -> None:
    """Answer signals from here on, then load the command line and run it."""
    signals.handle_signals_early(serves=False)
    from producer_tools import producer_cli  # noqa: PLC0415 -- slow, and a signal may come

    signals.restore_keyboard_interrupt()
    producer_cli.main()


if __name__ == "__main__":
    main()
