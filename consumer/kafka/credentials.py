"""What a connection is made with, as its files have it now."""

from __future__ import annotations

from aiokafka.errors import KafkaError

from consumer.settings.model import SecuritySettings
from consumer.settings.sources import read_again


class CredentialsFileError(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """What is read again for a connection cannot be used; the next attempt reads it again."""


def read_now(security: SecuritySettings) -> SecuritySettings:
    """Return the settings with what their files hold now. Raises ``CredentialsFileError``."""
    try:
        return read_again(security)
    except OSError as error:
        raise CredentialsFileError(f"{error.filename} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CredentialsFileError("a file of kafka.security is not UTF-8") from error
    except ValueError as error:
        raise CredentialsFileError(str(error)) from error
