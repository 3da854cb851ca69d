"""Kafka session and event messages, applied idempotently to MongoDB."""

__version__ = "0.1.0"
