"""Repairing what failed: a function of the operator's, and a check of what it returns."""

from __future__ import annotations

import json
import pkgutil
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, FailedRecord
from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.messages import close_awaitable, why_unusable
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Rejected
from consumer.errors import USER_CODE_ERRORS, SettingsError

Transform = Callable[[FailedRecord], object]
"""Returns the new value (bytes, text or a JSON object), a whole ``FailedRecord`` made by
``dataclasses.replace`` where key or headers change too, or None to leave the dead letter alone."""


class TransformError(Exception):
    """The function failed, or the consumer would refuse what it returned. Quotes no values."""


def load_transform(reference: str) -> Transform:
    """Import ``MODULE:FUNCTION``, also from the current directory.

    Raises ``ValueError`` with a text for people.
    """
    if not all(reference.partition(":")):
        raise ValueError(f"{reference!r} is not MODULE:FUNCTION, such as repair:add_time_zone")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: object = pkgutil.resolve_name(reference)
    except USER_CODE_ERRORS as error:
        raise ValueError(
            f"{reference!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if why := why_unusable(found, "the failed record"):
        raise ValueError(f"{reference!r} {why}")
    return cast("Transform", found)


def transformed(
    transform: Transform, dead_letter: DeadLetterRecord, key_policy: KeyPolicy
) -> FailedRecord | None:
    """Return the repaired record, None where the function leaves the dead letter alone.

    What is returned is read as the consumer will read it, under ``key_policy``. That it can
    be stored shows only when its document is encoded (the reason ``unstorable``).
    Raises ``TransformError``, and ``SettingsError`` where no dead letter could be repaired so.
    """
    failed = dead_letter.failed
    try:
        returned = transform(failed)
    except USER_CODE_ERRORS as error:
        raise TransformError(f"the transform raised {_where(error)}") from error
    if close_awaitable(returned):
        raise SettingsError(
            "--transform: the function, or what it calls, is asynchronous; it must return what is "
            "sent: write it without async"
        )
    if returned is None:
        return None
    repaired = _as_record(failed, returned)
    record = Record(
        *dead_letter.failed.origin,
        dead_letter.timestamp_ms,
        repaired.key,
        repaired.value,
        dead_letter.redriven_headers(repaired.headers),
    )
    match decode(record, key_policy):
        case Decoded():
            return repaired
        case Tombstone():
            raise TransformError("what the transform returned has no value")
        case Rejected(reason=reason, detail=detail):
            raise TransformError(
                f"what the transform returned would fail again: {reason.value}: {detail}"
            )


def _where(error: BaseException) -> str:
    """Name the error and the line it comes from; its text might quote the message."""
    frames = traceback.extract_tb(error.__traceback__)
    line = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + line


def _as_record(failed: FailedRecord, returned: object) -> FailedRecord:
    match returned:
        case bytes() | bytearray():
            return replace(failed, value=bytes(returned))
        case FailedRecord():
            return _well_typed(returned)
        case str() | Mapping():
            return replace(failed, value=_encoded(returned))
        case _:
            raise TransformError(
                f"the transform returned a {type(returned).__name__}; allowed: bytes, text, a JSON "
                "object, a FailedRecord, or None"
            )


def _encoded(content: str | Mapping[object, object]) -> bytes:
    try:
        if isinstance(content, str):
            return content.encode()
        return json.dumps(
            dict(content), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TransformError(
            f"what the transform returned is not JSON ({type(error).__name__})"
        ) from error


def _well_typed(record: FailedRecord) -> FailedRecord:
    """Return the record with its headers as a tuple; the function may have put anything in."""
    content = (record.key, record.value)
    if not all(part is None or isinstance(part, bytes) for part in content):
        raise TransformError("the transform returned a record whose key or value is not bytes")
    headers = cast("object", record.headers)
    if not isinstance(headers, tuple | list) or not all(map(_is_header, headers)):
        raise TransformError("the transform returned headers that are not pairs of text and bytes")
    return replace(record, headers=tuple((name, value) for name, value in headers))


def _is_header(header: object) -> bool:
    match header:
        case (str(), bytes() | None):
            return True
        case _:
            return False
