"""What an error of the driver or of the server means here.

Everything is transient unless it is known to lie in the one record: an outage must never
become a flood of dead letters. No server's text is passed on, since it quotes values; of the
driver's, which server does not answer, and why.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from bson.errors import BSONError, InvalidDocument, InvalidStringData
from pymongo import errors

from consumer.errors import (
    ConsumerError,
    PreconditionError,
    TimedOutError,
    TransientError,
    drop_tracebacks,
)
from consumer.mongo.collections import ConnectionLostError, RefusedError


class CodeClass(StrEnum):
    """What a code of the server asks for."""

    DUPLICATE = "duplicate"
    """A unique index has the key already: a question, not an error."""
    PERMANENT = "permanent"
    """The record's own content is refused; no retry helps."""
    TIMED_OUT = "timed_out"
    """The deadline passed; smaller commands may fit."""
    TRANSIENT = "transient"
    """Everything else, the unknown included."""


_DUPLICATE = frozenset({11000, 11001, 12582})

_TIMED_OUT = {
    50: "MaxTimeMSExpired",
    89: "NetworkTimeout",
    202: "NetworkInterfaceExceededTimeLimit",
    262: "ExceededTimeLimit",
}

_MAJORITY_AWAY = {64: "WriteConcernTimeout"}
"""A smaller command would wait as long for the majority."""

PERMANENT = {
    # Only what the statements' fixed shape leaves to the record: its values. A code that a
    # wrong set-up could raise for every record (28, 40, 61, 66: paths and shard keys) is not here.
    15: "Overflow",  # nested deeper than the server allows
    52: "DollarPrefixedFieldName",  # servers before 5.0
    55: "InvalidDBRef",  # likewise, {"$ref": …} in a payload
    56: "EmptyFieldName",  # likewise
    57: "DottedFieldName",  # likewise
    121: "DocumentValidationFailure",
    171: "CannotIndexParallelArrays",  # an operator's own index on fields of the payload
    10334: "BSONObjectTooLarge",
    13026: "GeoPointNotNumbers",  # an operator's own 2d index
    13027: "GeoPointOutOfBounds",  # likewise
    13068: "GeoPointOneCoordinate",  # likewise
    16732: "TextTooManyTerms",  # an operator's own text index: over 400,000 in one document
    16755: "GeoKeys",  # an operator's own 2dsphere index
    16766: "HashedArray",  # an operator's own hashed index
    17261: "TextLanguageType",  # an operator's own text index reads our field `language`
    17262: "TextLanguageUnsupported",  # likewise, with a value that is no language to it
    17419: "UpdatedDocumentTooLarge",
    17420: "UpsertedDocumentTooLarge",
}


AUTHENTICATION_FAILED, UNAUTHORIZED = "AuthenticationFailed", "Unauthorized"
_REFUSED = {13: UNAUTHORIZED, 18: AUTHENTICATION_FAILED, 8000: "AtlasError"}
"""Of who we are and what we may: may be granted later, so a running process tries again."""

# Servers are separated by a bare comma; asyncio's own reasons have commas before a space.
_SERVER_AND_REASON = re.compile(
    r"([^\s,]+:\d+: (?:[^,]|, )*?) \(configured timeouts: [^)]*\)(?=,|$)"
)
_NO_SERVER = re.compile(r"No (?:primary|replica set members|mongos|servers)\b[^,]*")


def classify(code: int) -> CodeClass:
    """Return what a server's code asks for."""
    if code in _DUPLICATE:
        return CodeClass.DUPLICATE
    if code in PERMANENT:
        return CodeClass.PERMANENT
    if code in _TIMED_OUT:
        return CodeClass.TIMED_OUT
    return CodeClass.TRANSIENT


def code_name(code: int) -> str:
    """Return a short stable word for a code, for logs, metrics and dead letters."""
    names = PERMANENT | _TIMED_OUT | _MAJORITY_AWAY | _REFUSED
    return names.get(code) or f"code_{code}"


def translate(error: Exception) -> ConsumerError:
    """Return our error for one of the driver's, most specific class first.

    ``BulkWriteError`` is read by index where a bulk is sent; here it is an unknown answer.
    """
    cause = type(error).__name__
    match error:
        case errors.WriteConcernError():
            return TransientError(cause)
        case errors.OperationFailure():
            return _command_failure(error)
        case InvalidDocument() | InvalidStringData():
            return RefusedError(cause)
        case errors.ServerSelectionTimeoutError() | errors.WaitQueueTimeoutError():
            # Nothing was sent: a smaller command would wait as long for a server or a connection.
            return TransientError(cause, _unanswering(error))
        case errors.PyMongoError(timeout=True) | TimeoutError():
            return TimedOutError(cause, _unanswering(error))
        case (
            errors.ConfigurationError()
            | errors.InvalidName()
            | errors.CollectionInvalid()
            | errors.InvalidOperation()
        ):
            return _misuse(error)
        case errors.AutoReconnect():
            return ConnectionLostError(cause, _unanswering(error))
        case _:
            return TransientError(cause)


def _unanswering(error: Exception) -> str:
    """Return which servers do not answer, and why; empty where the driver does not say.

    Found by the shape of the driver's own sentences, so that no server's text is among it.
    """
    if not isinstance(error, errors.ConnectionFailure):
        return ""
    none = _NO_SERVER.match(str(error))
    return none.group() if none else "; ".join(_SERVER_AND_REASON.findall(str(error)))


def _misuse(error: Exception) -> ConsumerError:
    why = error.__cause__
    if type(why).__module__.startswith("dns."):
        # Of mongodb+srv: name servers may be away, or know the name later, as with mongodb://.
        return TransientError(type(why).__name__, str(why))
    return PreconditionError(
        f"the MongoDB driver refuses to work as it is set up: {type(error).__name__}; "
        "check mongo.uri and the server's version"
    )


def _command_failure(error: errors.OperationFailure) -> ConsumerError:
    code = error.code
    if isinstance(error, errors.BulkWriteError | errors.ClientBulkWriteException):
        return TransientError(type(error).__name__)
    if code is None:
        failure = TimedOutError if error.timeout else TransientError
        return failure(type(error).__name__)
    match classify(code):
        case CodeClass.PERMANENT:
            return RefusedError(code_name(code))
        case CodeClass.TIMED_OUT:
            return TimedOutError(code_name(code))
        case _:
            return TransientError(code_name(code))


def _cancels() -> int:
    """Return how often the running task was cancelled; 0 where there is none.

    PyMongo sends by asyncio.wait_for, which up to Python 3.11 loses a cancel that comes while what
    is awaited ends: the driver goes on, and whoever waits for the task would wait for ever.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop
        return 0
    return 0 if task is None else task.cancelling()


@contextmanager
def driver_errors() -> Iterator[None]:
    """Turn what the driver raises inside into our errors, and let no cancel of the task be lost.

    Raises ``TransientError`` (or a subclass) or ``PreconditionError``.
    """
    cancels = _cancels()
    try:
        yield
        if _cancels() > cancels:
            raise asyncio.CancelledError
    except (errors.PyMongoError, BSONError, OSError) as error:
        drop_tracebacks(error)
        if _cancels() > cancels:
            raise asyncio.CancelledError from None
        # The texts of all but connection errors may quote documents, and a logged chain of
        # causes would print them.
        raise translate(error) from (error if isinstance(error, errors.ConnectionFailure) else None)


@contextmanager
def refused_users() -> Iterator[None]:
    """Raise ``PreconditionError`` where the database refuses who we are, or what we may.

    For a start: it would be tried again for ever.
    """
    try:
        yield
    except TransientError as error:
        if error.cause == AUTHENTICATION_FAILED:
            raise PreconditionError(
                "MongoDB refuses the user of mongo.uri; fix: its user, password, authSource and "
                "authMechanism must be right"
            ) from None
        if error.cause == UNAUTHORIZED:
            raise PreconditionError(
                "MongoDB does not let the user of mongo.uri do what is needed, or there is no user "
                "in it; fix: a user in mongo.uri, with the grants of docs/grants.md"
            ) from None
        raise
