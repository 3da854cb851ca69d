"""``consumer contract``: the message contract for other programs, as the code itself has it."""

from __future__ import annotations

from consumer import __version__
from consumer.commands.common.record_selection import kind_violations
from consumer.contract.asyncapi import TopicNames, asyncapi_document, json_schema_text, to_yaml
from consumer.errors import SettingsError
from consumer.settings.model import EVENTS_TOPIC, SESSIONS_TOPIC, Settings
from consumer.terminal import write


def asyncapi_text(
    settings: Settings, sessions: str = SESSIONS_TOPIC, events: str = EVENTS_TOPIC
) -> str:
    """Return the AsyncAPI document as YAML, about the topics that producers send to.

    The settings do not tell which is which: every kind of message is accepted on each topic. Raises
    ``SettingsError`` for a topic that is not read.
    """
    read = settings.kafka.topics
    for option, topic in (("--sessions-topic", sessions), ("--events-topic", events)):
        if topic not in read:
            raise SettingsError(
                f"{option}: {topic!r} is not read; name one of kafka.topics ({', '.join(read)})"
            )
    names = TopicNames(sessions, events, settings.dead_letters.topic)
    return to_yaml(asyncapi_document(names, __version__))


def print_asyncapi(settings: Settings, sessions: str, events: str) -> None:
    """Write the AsyncAPI document to standard output. Raises ``OutputError``, ``SettingsError``."""
    write(asyncapi_text(settings, sessions, events), flush=True)


def print_json_schema(kind: str) -> None:
    """Write the JSON Schema of a kind to standard output.

    Raises ``OutputError``, and ``SettingsError`` for a kind that is not known.
    """
    for violation in kind_violations("--json-schema", [kind]):
        raise SettingsError(violation)
    write(json_schema_text(kind), flush=True)
