"""All settings, frozen, with every rule kept."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.settings.groups import (
    DeadLetterSettings,
    EngineSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    MongoSettings,
)
from consumer.settings.rules import violations


class Settings(BaseSettings):
    """Everything that can be set, with the defaults that fit together.

    Built directly it reads nothing from outside; ``load_settings`` does that.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka: KafkaSettings = KafkaSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    mongo: MongoSettings = MongoSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()

    @model_validator(mode="after")
    def _rules_across_fields(self) -> Self:
        broken = violations(self.kafka, self.dead_letters, self.mongo, self.engine)
        if broken:
            raise ValueError("\n".join(broken))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the caller gives and nothing else."""
        return (init_settings,)
