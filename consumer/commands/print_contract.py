"""``consumer contract``: the message contract for other programs, as the code itself has it."""

from __future__ import annotations

from consumer import __version__
from consumer.contract.asyncapi import TopicNames, asyncapi_document, json_schema_text, to_yaml
from consumer.contract.messages import MessageKind
from consumer.settings.model import Settings
from consumer.terminal import write


def asyncapi_text(settings: Settings) -> str:
    """Return the AsyncAPI document for the topics of ``settings``, as YAML."""
    topics = settings.kafka.topics
    names = TopicNames(topics[0], topics[-1], settings.dead_letters.topic)
    return to_yaml(asyncapi_document(names, __version__))


def print_asyncapi(settings: Settings) -> None:
    """Write the AsyncAPI document to standard output. Raises ``OutputError``."""
    write(asyncapi_text(settings), flush=True)


def print_json_schema(kind: MessageKind) -> None:
    """Write the JSON Schema of a kind to standard output. Raises ``OutputError``."""
    write(json_schema_text(kind), flush=True)
