"""All settings, frozen. Only ``sources`` in here reads the environment.

``model`` has the groups, the whole of them and the rules between single settings; ``values`` has
the types of single settings. ``load_settings`` is the way in.
"""

from consumer.contract.rejection import KeyPolicy
from consumer.settings.model import (
    DeadLetterSettings,
    EngineSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    MongoSettings,
    SecuritySettings,
    Settings,
)
from consumer.settings.sources import CATALOGUE, SettingRow, exposed_files, load_settings
from consumer.settings.values import (
    Driver,
    LogFormat,
    LogLevel,
    OnGap,
    SaslMechanism,
    SecurityProtocol,
)

__all__ = [
    "CATALOGUE",
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
    "exposed_files",
    "load_settings",
]
