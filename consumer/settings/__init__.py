"""All settings, frozen. Only ``sources`` in here reads the environment.

``root.Settings`` is the whole, made of the ``groups``; ``values`` are the types of the
single settings and ``rules`` what holds between them. ``load_settings`` is the way in.
"""

from consumer.contract.rejection import KeyPolicy
from consumer.settings.catalogue import SettingRow, describe
from consumer.settings.groups import (
    DeadLetterSettings,
    EngineSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    MongoSettings,
    SecuritySettings,
)
from consumer.settings.load import load_settings
from consumer.settings.profiles import embedded_profile
from consumer.settings.root import Settings
from consumer.settings.sources import exposed_files
from consumer.settings.values import (
    Driver,
    LogFormat,
    LogLevel,
    OnGap,
    SaslMechanism,
    SecurityProtocol,
)

__all__ = [
    "DeadLetterSettings",
    "Driver",
    "EngineSettings",
    "HttpSettings",
    "KafkaSettings",
    "KeyPolicy",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "MongoSettings",
    "OnGap",
    "SaslMechanism",
    "SecurityProtocol",
    "SecuritySettings",
    "SettingRow",
    "Settings",
    "describe",
    "embedded_profile",
    "exposed_files",
    "load_settings",
]
