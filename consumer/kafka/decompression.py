"""Unpacking compressed batches within a limit, in place of the client's own functions.

aiokafka 0.14 unpacks whatever it is sent: a batch of one megabyte may become 34 gigabytes.
Whether each codec works here is tried at every start. All of it is checked by
tests/faults/kafka/test_client_fetching.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import ModuleType

import cramjam
from aiokafka import codec
from aiokafka.record import default_records, legacy_records

from consumer.errors import PreconditionError

FIRST_ROOM = 1024 * 1024
ROOM_GROWS_BY = 4

XERIAL_MARK = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16
"""The framing of Java's snappy: a header, then blocks with their lengths before them."""
_BLOCK_LENGTH = struct.Struct(">i")

_NO_ROOM = "failed to write whole buffer"
"""What the library says when the output does not fit; checked by a test."""


class DecompressionLimitError(Exception):
    """A batch unpacks to more than is allowed."""


class MalformedSnappyError(Exception):
    """The blocks of a snappy batch do not add up."""


class BoundedDecompressor:
    """Unpacks to ``max_bytes`` at most, into one buffer that is used again and again."""

    def __init__(self, max_bytes: int) -> None:
        """The buffer grows as it is needed, and stays as large as it was needed once."""
        self._max_bytes = max_bytes
        self._buffer = bytearray(min(FIRST_ROOM, max_bytes))

    def gzip(self, payload: bytes) -> bytes:
        """Raises ``DecompressionLimitError``, or the library's own error."""
        return self._unpacked(cramjam.gzip.decompress_into, payload)

    def lz4(self, payload: bytes) -> bytes:
        """Raises ``DecompressionLimitError``, or the library's own error."""
        return self._unpacked(cramjam.lz4.decompress_into, payload)

    def zstd(self, payload: bytes) -> bytes:
        """Raises ``DecompressionLimitError``, or the library's own error."""
        return self._unpacked(cramjam.zstd.decompress_into, payload)

    def snappy(self, payload: bytes) -> bytes:
        """Raises ``DecompressionLimitError``, ``MalformedSnappyError`` or the library's error."""
        blocks = _snappy_blocks(memoryview(payload))
        # Each block says in front what it unpacks to, and the library holds it to that.
        if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > self._max_bytes:
            raise self._too_large()
        return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)

    def _unpacked(self, unpack_into: Callable[[bytes, bytearray], int], payload: bytes) -> bytes:
        while True:
            try:
                count = unpack_into(payload, self._buffer)
            except cramjam.DecompressionError as error:
                # Whatever it says: with all the room there may be it must be true.
                if len(self._buffer) < self._max_bytes:
                    room = min(len(self._buffer) * ROOM_GROWS_BY, self._max_bytes)
                    self._buffer = bytearray(room)
                elif _NO_ROOM in str(error):
                    raise self._too_large() from error
                else:
                    raise
            else:
                return bytes(memoryview(self._buffer)[:count])

    def _too_large(self) -> DecompressionLimitError:
        return DecompressionLimitError(f"more than {self._max_bytes} bytes")


def _snappy_blocks(payload: memoryview) -> list[memoryview]:
    if payload[: len(XERIAL_MARK)] != XERIAL_MARK:
        return [payload]
    blocks: list[memoryview] = []
    position = XERIAL_HEADER_BYTES
    while position < len(payload):
        start = position + _BLOCK_LENGTH.size
        if start > len(payload):
            raise MalformedSnappyError("a block's length is cut off")
        (length,) = _BLOCK_LENGTH.unpack_from(payload, position)
        # A length below zero would take the client back to where it was, for ever.
        if not 0 < length <= len(payload) - start:
            raise MalformedSnappyError(f"a block of {length} bytes")
        position = start + length
        blocks.append(payload[start:position])
    return blocks


def limit_decompression(max_bytes: int) -> None:
    """Let every consumer of this process unpack to ``max_bytes`` at most.

    The client gives no other place for it: its record modules call functions by their names.
    """
    bounded = BoundedDecompressor(max_bytes)
    for module in _record_modules():
        for name, function in (
            ("gzip_decode", bounded.gzip),
            ("lz4_decode", bounded.lz4),
            ("snappy_decode", bounded.snappy),
            ("zstd_decode", bounded.zstd),
        ):
            if hasattr(module, name):
                setattr(module, name, function)


def _record_modules() -> list[ModuleType]:
    """Return the client's modules that read batches: those in C where they are in use."""
    modules: list[ModuleType] = [default_records, legacy_records]
    try:
        from aiokafka.record._crecords import default_records as fast  # noqa: PLC0415
        from aiokafka.record._crecords import legacy_records as fast_legacy  # noqa: PLC0415
    except ImportError:
        return modules
    return [*modules, fast, fast_legacy]


SAMPLE = b"codec self-test " * 64

_SELF_TEST = BoundedDecompressor(len(SAMPLE))
_ROUND_TRIPS = {
    "gzip": (codec.has_gzip, codec.gzip_encode, _SELF_TEST.gzip),
    "snappy": (codec.has_snappy, codec.snappy_encode, _SELF_TEST.snappy),
    "lz4": (codec.has_lz4, codec.lz4_encode, _SELF_TEST.lz4),
    "zstd": (codec.has_zstd, codec.zstd_encode, _SELF_TEST.zstd),
}


def check_codecs() -> None:
    """Compress and decompress with each codec.

    Without its library a codec fails only when the first such batch arrives, on every poll.
    Raises ``PreconditionError`` naming what to install.
    """
    for name, (available, encode, decode) in _ROUND_TRIPS.items():
        if not available() or decode(encode(SAMPLE)) != SAMPLE:
            raise PreconditionError(
                f"the {name} codec does not work here: install aiokafka[lz4,snappy,zstd]"
            )
