"""Whether every compression codec that a producer may use can be read here."""

from __future__ import annotations

from aiokafka import codec

from consumer.errors import PreconditionError
from consumer.kafka.decompression import BoundedDecompressor

SAMPLE = b"codec self-test " * 64

_READING = BoundedDecompressor(len(SAMPLE))
_ROUND_TRIPS = {
    "gzip": (codec.has_gzip, codec.gzip_encode, _READING.gzip),
    "snappy": (codec.has_snappy, codec.snappy_encode, _READING.snappy),
    "lz4": (codec.has_lz4, codec.lz4_encode, _READING.lz4),
    "zstd": (codec.has_zstd, codec.zstd_encode, _READING.zstd),
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
