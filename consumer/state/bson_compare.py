"""Whether two BSON values say the same.

Stored values are compared as they lie in the store. Decoding them first would lose what
matters: a sub-document that looks like a reference becomes an object of the driver's, and
Python takes true, 1 and 1.0 for the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

Stored = RawBSONDocument
"""A document as it lies in the store, by the name that rooms without BSON use."""


class QuietDocument(RawBSONDocument):
    """A raw document that does not print what it holds.

    Errors of the driver carry the documents they are about, and their texts are built from
    all of it: that would quote conversations, and took a tenth of the time of a replay.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<document of {len(self.raw)} bytes>"


RAW: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=QuietDocument,
    # Other writers may have stored times that no datetime can hold: a number always can.
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    # ... and bytes that are not UTF-8. They must differ from ours, not raise.
    unicode_decode_error_handler="surrogateescape",
)
"""How documents are read: nothing is decoded before it is asked for."""

SERVER_ID_BYTES = 17
"""What the ``_id`` takes that the server gives to a document without one."""

_HEADER = 4
_ID = b"\x07_id\0"
"""How an ``_id`` begins that is an ObjectId."""

_ABSENT = object()


def raw_document(encoded: bytes) -> RawBSONDocument:
    """Wrap one encoded document."""
    return QuietDocument(encoded, RAW)


def differing_fields(
    ours: RawBSONDocument, stored: RawBSONDocument, fields: Iterable[str]
) -> tuple[str, ...]:
    """Return those of ``fields`` that are not the same in both; absent differs from null."""
    return tuple(
        field
        for field in fields
        if not same_value(ours.get(field, _ABSENT), stored.get(field, _ABSENT))
    )


def same_but_for_id(ours: RawBSONDocument, stored: RawBSONDocument) -> bool:
    """Tell whether ``stored`` is, byte for byte, ``ours`` behind an ``_id`` of the server's.

    Decodes nothing. False says nothing: the same content may be stored in another shape.
    """
    return behind_id(bytes(stored.raw)) == behind_length(bytes(ours.raw))


def behind_length(encoded: bytes) -> bytes:
    """Return what a document says, to find it by among ``behind_id`` of stored ones."""
    return encoded[_HEADER:]


def behind_id(stored: bytes) -> bytes | None:
    """Return what a stored document says behind an ``_id`` of the server's, None without one.

    Decodes nothing. Equal to ``behind_length`` of a document exactly where ``same_but_for_id``.
    """
    return stored[_HEADER + SERVER_ID_BYTES :] if stored.startswith(_ID, _HEADER) else None


def same_value(left: object, right: object) -> bool:
    """Compare two values of raw documents.

    Objects whatever the order of their keys, arrays in order. A boolean, an integer and a
    double are three things; 32 and 64 bits are one, and so are -0.0 and 0.0. Iterative, so
    that no depth a server can store exhausts the stack.
    """
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, RawBSONDocument) and isinstance(other, RawBSONDocument):
            if one.raw == other.raw:
                continue
            if len(one) != len(other) or any(name not in other for name in one):
                return False
            pairs.extend((value, other[name]) for name, value in one.items())
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs.extend(zip(one, other, strict=True))
        elif _kind(one) is not _kind(other) or one != other:
            return False
    return True


def _kind(value: object) -> type:
    """Return the type that decides; a 64-bit integer of the driver's is an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int
    return type(value)
