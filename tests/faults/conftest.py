"""Makes the fixtures of real processes known to these tests."""

from __future__ import annotations

from tests.e2e.fixtures import (
    distant_fleet,
    environment,
    fleet,
    kafka,
    mongodb,
    mongodb_proxy,
)

__all__ = ["distant_fleet", "environment", "fleet", "kafka", "mongodb", "mongodb_proxy"]
