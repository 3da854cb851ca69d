"""Sets of settings for a known surrounding."""

from __future__ import annotations


def embedded_profile() -> dict[str, object]:
    """Overrides that suit the embedded broker: quick takeovers, and only what it can serve.

    Times in seconds. It has no idempotent producers.
    """
    return {
        "kafka.session_timeout": 6.0,
        "kafka.request_timeout": 5.0,
        "kafka.rebalance_timeout": 4.0,
        "kafka.heartbeat_interval": 1.0,
        "dead_letters.idempotent": False,
    }
