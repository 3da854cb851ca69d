from __future__ import annotations

import asyncio
import inspect
import ssl
from contextlib import suppress
from typing import Any

import bson.errors
import pymongo.errors
import pytest

from consumer.errors import ConsumerError, PreconditionError, TimedOutError, TransientError
from consumer.mongo.collections import ConnectionLostError, RefusedError
from consumer.mongo.driver_errors import (
    PERMANENT,
    CodeClass,
    classify,
    code_name,
    driver_errors,
    translate,
)

CANARY = "a caller's words"

PASSES, TOO_SLOW, REFUSED, STOPS = TransientError, TimedOutError, RefusedError, PreconditionError
LOST = ConnectionLostError

EXPECTED: dict[str, type[ConsumerError]] = {
    # pymongo
    "PyMongoError": PASSES,
    "ProtocolError": PASSES,
    "ConnectionFailure": PASSES,
    "WaitQueueTimeoutError": PASSES,
    "AutoReconnect": LOST,
    "NetworkTimeout": TOO_SLOW,
    "NotPrimaryError": LOST,
    "ServerSelectionTimeoutError": PASSES,
    "ConfigurationError": STOPS,
    "OperationFailure": PASSES,
    "CursorNotFound": PASSES,
    "ExecutionTimeout": TOO_SLOW,
    "WriteConcernError": PASSES,
    "WriteError": PASSES,
    "WTimeoutError": PASSES,
    "DuplicateKeyError": PASSES,
    "BulkWriteError": PASSES,
    "ClientBulkWriteException": PASSES,
    "InvalidOperation": STOPS,
    "InvalidName": STOPS,
    "CollectionInvalid": STOPS,
    "InvalidURI": STOPS,
    "DocumentTooLarge": REFUSED,
    "EncryptionError": PASSES,
    "EncryptedCollectionError": PASSES,
    "_OperationCancelled": LOST,
    # bson
    "BSONError": PASSES,
    "InvalidBSON": PASSES,
    "InvalidStringData": REFUSED,
    "InvalidDocument": REFUSED,
    "InvalidId": PASSES,
}


def classes_of(module: Any) -> dict[str, type[Exception]]:
    return {
        name: found
        for name, found in vars(module).items()
        if inspect.isclass(found)
        and issubclass(found, Exception)
        and found.__module__ == module.__name__
    }


def error_of(kind: type[Exception]) -> Exception:
    """One of a class, with a text that quotes what it must not."""
    details: dict[str, Any] = {"writeErrors": [], "writeConcernErrors": [], "errmsg": CANARY}
    match kind.__name__:
        case "BulkWriteError" | "ClientBulkWriteException":
            return kind(details, *([False] if kind.__name__.startswith("Client") else []))
        case "EncryptionError":
            return kind(ValueError(CANARY))
        case "EncryptedCollectionError":
            return kind(ValueError(CANARY), details)
        case _:
            return kind(CANARY)


def drivers_classes() -> dict[str, type[Exception]]:
    return classes_of(pymongo.errors) | classes_of(bson.errors)


def test_every_class_that_the_drivers_raise_has_a_class_here() -> None:
    assert set(drivers_classes()) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_drivers_error_becomes_ours_without_its_text(name: str) -> None:
    error = translate(error_of(drivers_classes()[name]))
    assert type(error) is EXPECTED[name]
    assert CANARY not in str(error)
    assert name in str(error)


TIMEOUTS = "(configured timeouts: socketTimeoutMS: 10000.0ms, connectTimeoutMS: 10000.0ms)"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            pymongo.errors.ServerSelectionTimeoutError(
                f"a.example:27017: [Errno 111] Connection refused {TIMEOUTS},b:27018: [Errno -2] "
                f"Name or service not known {TIMEOUTS}, Timeout: 10s, Topology Description: "
                f"<TopologyDescription error=AutoReconnect('b:27018: unsaid {TIMEOUTS}')>"
            ),
            (
                "ServerSelectionTimeoutError: a.example:27017: [Errno 111] Connection refused; "
                "b:27018: [Errno -2] Name or service not known"
            ),
        ),
        (
            pymongo.errors.ServerSelectionTimeoutError(
                "a:27017: Multiple exceptions: [Errno 111] Connect call failed ('::1', 27017, 0, "
                "0), [Errno 111] Connect call failed ('127.0.0.1', 27017) "
                f"{TIMEOUTS},b:27017: timed out {TIMEOUTS}, Timeout: 10s, Topology Description: …"
            ),
            (
                "ServerSelectionTimeoutError: a:27017: Multiple exceptions: [Errno 111] Connect "
                "call failed ('::1', 27017, 0, 0), [Errno 111] Connect call failed ('127.0.0.1', "
                "27017); b:27017: timed out"
            ),
        ),
        (
            pymongo.errors.ServerSelectionTimeoutError(
                'No replica set members match selector "Primary()", Timeout: 10s, Topology …'
            ),
            'ServerSelectionTimeoutError: No replica set members match selector "Primary()"',
        ),
        (
            pymongo.errors.NetworkTimeout(f"[::1]:27017: timed out {TIMEOUTS}"),
            "NetworkTimeout: [::1]:27017: timed out",
        ),
        (
            pymongo.errors.AutoReconnect(f"a:27017: connection closed {TIMEOUTS}"),
            "AutoReconnect: a:27017: connection closed",
        ),
        (pymongo.errors.NotPrimaryError(f"{CANARY}, full error: {{}}"), "NotPrimaryError"),
    ],
)
def test_which_server_does_not_answer_and_why_is_told(error: Exception, expected: str) -> None:
    assert str(translate(error)) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (11000, CodeClass.DUPLICATE),
        (121, CodeClass.PERMANENT),
        (10334, CodeClass.PERMANENT),
        (17419, CodeClass.PERMANENT),
        (17420, CodeClass.PERMANENT),
        (15, CodeClass.PERMANENT),
        (52, CodeClass.PERMANENT),
        (50, CodeClass.TIMED_OUT),
        (262, CodeClass.TIMED_OUT),
        *[
            (code, CodeClass.TRANSIENT)
            for code in (
                *(0, 1, 2, 6, 7, 8, 13, 18, 20, 26, 61, 64, 66, 91, 100, 112, 133, 189, 211, 251),
                *(10107, 11600, 11602, 13388, 13435, 13436, 14031, 16500, 39999, 987654321),
            )
        ],
    ],
)
def test_a_code_means_what_it_says_and_an_unknown_one_passes(
    code: int, expected: CodeClass
) -> None:
    assert classify(code) is expected


def test_what_a_wrong_set_up_could_raise_for_every_record_is_no_records_fault() -> None:
    assert PERMANENT.keys().isdisjoint({2, 9, 13, 14, 20, 28, 40, 59, 61, 66, 72, 115})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pymongo.errors.OperationFailure(CANARY, 13), TransientError),
        (pymongo.errors.OperationFailure(CANARY, 18), TransientError),
        (pymongo.errors.OperationFailure(CANARY, 14031), TransientError),
        (pymongo.errors.OperationFailure(CANARY, 16500), TransientError),
        (pymongo.errors.OperationFailure(CANARY, 11000), TransientError),
        (pymongo.errors.OperationFailure(CANARY, 50), TimedOutError),
        (pymongo.errors.OperationFailure(CANARY, 10334), RefusedError),
        (pymongo.errors.WriteConcernError(CANARY, 91), TransientError),
        (ConnectionResetError(CANARY), TransientError),
        (ssl.SSLCertVerificationError(CANARY), TransientError),
        (TimeoutError(CANARY), TimedOutError),
    ],
)
def test_a_command_that_failed_as_a_whole_is_told_by_its_code(
    error: Exception, expected: type[ConsumerError]
) -> None:
    translated_error = translate(error)
    assert type(translated_error) is expected
    assert CANARY not in str(translated_error)


@pytest.mark.parametrize(
    "error",
    [
        pymongo.errors.DuplicateKeyError(CANARY, 11000, {"keyValue": {"sessionId": CANARY}}),
        bson.errors.InvalidDocument(CANARY),
        pymongo.errors.OperationFailure(CANARY, 1),
    ],
)
def test_not_even_the_chain_of_causes_quotes_a_document(error: Exception) -> None:
    with pytest.raises(TransientError) as caught, driver_errors():
        raise error
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_connection_error_keeps_its_cause_for_the_log() -> None:
    error = pymongo.errors.AutoReconnect("10.0.0.1:27017: connection refused")
    with pytest.raises(TransientError) as caught, driver_errors():
        raise error
    assert caught.value.__cause__ is error


def test_our_own_errors_and_defects_pass_through() -> None:
    for error in (TransientError("x"), AssertionError("y")):
        with pytest.raises(type(error)) as caught, driver_errors():
            raise error
        assert caught.value is error


def test_codes_have_short_stable_names() -> None:
    assert code_name(121) == "DocumentValidationFailure"
    assert code_name(64) == "WriteConcernTimeout"
    assert code_name(16500) == "code_16500"


@pytest.mark.parametrize("code", [13026, 13027, 13068, 16732, 16755, 16766, 17261, 17262])
@pytest.mark.reliability("F76")
def test_what_an_operators_own_index_cannot_take_of_one_record_is_refused_for_good(
    code: int,
) -> None:
    assert classify(code) is CodeClass.PERMANENT
    assert not code_name(code).startswith("code_")


@pytest.mark.parametrize("then_fails", [False, True])
async def test_a_cancel_that_the_driver_loses_ends_the_task_all_the_same(then_fails: bool) -> None:
    async def ask() -> None:
        for _ in range(2):
            with suppress(TransientError), driver_errors():
                with suppress(asyncio.CancelledError):  # as asyncio.wait_for does in Python 3.11
                    await asyncio.Event().wait()
                if then_fails:
                    raise pymongo.errors.AutoReconnect

    asking = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, 5)
