"""The same messy log that replays are tested on."""

from tests.integration.replay.conftest import empty_log, log, tidy_log

__all__ = ["empty_log", "log", "tidy_log"]
