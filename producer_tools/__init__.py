"""Publishing conversation messages from Python: ``from producer_tools import Publisher``.

docs/publishing.md shows how. A name is loaded when it is first asked for, so that the command
``producer-tools`` answers signals before anything large is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumer.contract.encode import CloudEventsFormat
    from consumer.contract.messages import (
        EventRecorded,
        EventType,
        Message,
        SessionCompleted,
        SessionCreated,
        SessionFailed,
    )
    from consumer.contract.record import Position
    from consumer.errors import SettingsError
    from consumer.kafka.connection import BrokersError
    from consumer.settings.model import KafkaSettings, SecuritySettings
    from consumer.settings.values import SaslMechanism, SecurityProtocol
    from producer_tools.outgoing_message import InvalidMessageError, Topics
    from producer_tools.publisher import Publisher

__all__ = [
    "BrokersError",
    "CloudEventsFormat",
    "EventRecorded",
    "EventType",
    "InvalidMessageError",
    "KafkaSettings",
    "Message",
    "Position",
    "Publisher",
    "SaslMechanism",
    "SecurityProtocol",
    "SecuritySettings",
    "SessionCompleted",
    "SessionCreated",
    "SessionFailed",
    "SettingsError",
    "Topics",
]

_MODULES = (
    "consumer.contract.encode",
    "consumer.contract.messages",
    "consumer.contract.record",
    "consumer.errors",
    "consumer.settings.model",
    "consumer.settings.values",
    "consumer.kafka.connection",
    "producer_tools.outgoing_message",
    "producer_tools.publisher",
)

if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        """Load what ``__all__`` names."""
        if name in __all__:
            for module in map(import_module, _MODULES):
                if hasattr(module, name):
                    found: object = getattr(module, name)
                    globals()[name] = found
                    return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
