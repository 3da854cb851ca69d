"""What every command does with Kafka brokers: say why they cannot be used, and look for topics."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from consumer.errors import PreconditionError, TransientError
from consumer.kafka.topic_ids import Operation
from consumer.kafka.topics import open_admin
from consumer.settings import KafkaSettings

CLIENT_ID: Final = "producer-tools"


class BrokersError(PreconditionError):
    """The brokers cannot be reached, or refuse or lack what a command needs."""


class _LastComplaint(logging.Handler):
    """Keeps the client's last warning: a refused password is told there and in no exception."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Remember the line instead of writing it."""
        self.text = record.getMessage()


@contextmanager
def explained(kafka: KafkaSettings) -> Iterator[None]:
    """Turn what the client raises into one line that says which brokers, what and why.

    Raises ``BrokersError``.
    """
    complaint = _LastComplaint()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(complaint)
    try:
        yield
    except (KafkaError, OSError, TransientError) as error:
        servers = ", ".join(kafka.bootstrap_servers)
        why = f" ({complaint.text})" if complaint.text else ""
        raise BrokersError(f"Kafka at {servers}: {describe(error)}{why}") from error
    finally:
        logger.removeHandler(complaint)


def describe(error: BaseException) -> str:
    """Return the error's name and text, in one line."""
    if isinstance(error, TransientError):
        return str(error)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


async def require_topics(kafka: KafkaSettings, names: Collection[str]) -> None:
    """Refuse to go on while a topic is missing or may not be written.

    Raises ``PreconditionError``.
    """
    with explained(kafka):
        async with open_admin(kafka) as admin:
            described = await admin.describe(sorted(names), Operation.WRITE)
    missing = sorted(set(names) - described.keys())
    if missing:
        servers = ",".join(kafka.bootstrap_servers)
        create = f"kafka-topics.sh --bootstrap-server {servers} --create --partitions 6 --topic"
        raise BrokersError(
            f"Kafka at {servers} has no topic {', '.join(missing)}; create with: "
            + "; ".join(f"{create} {name}" for name in missing)
        )


async def create_topics(kafka: KafkaSettings, names: Collection[str], partitions: int) -> None:
    """Create the topics that do not exist yet, with the brokers' own number of replicas.

    Raises ``BrokersError``.
    """
    with explained(kafka):
        async with open_admin(kafka) as admin:
            # The client takes -1 replicas only beside assignments, which may be empty.
            reply = await admin.raw.create_topics(
                [NewTopic(name, partitions, -1, {}) for name in names]
            )
            # The client does not raise on errors of single topics.
            for name, code, *_ in reply.topic_errors:
                if code not in {0, TopicAlreadyExistsError.errno}:
                    raise for_code(code)(name)
