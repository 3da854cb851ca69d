"""Whether every compression codec that a producer may use can be read here."""

from __future__ import annotations

from aiokafka import codec

from consumer.errors import PreconditionError

_ROUND_TRIPS = {
    "gzip": (codec.has_gzip, codec.gzip_encode, codec.gzip_decode),
    "snappy": (codec.has_snappy, codec.snappy_encode, codec.snappy_decode),
    "lz4": (codec.has_lz4, codec.lz4_encode, codec.lz4_decode),
    "zstd": (codec.has_zstd, codec.zstd_encode, codec.zstd_decode),
}


def check_codecs() -> None:
    """Compress and decompress with each codec.

    Without its library a codec fails only when the first such batch arrives, on every poll.
    Raises ``PreconditionError`` naming what to install.
    """
    sample = b"codec self-test " * 64
    for name, (available, encode, decode) in _ROUND_TRIPS.items():
        if not available() or bytes(decode(encode(sample))) != sample:
            raise PreconditionError(
                f"the {name} codec does not work here: install aiokafka[lz4,snappy,zstd]"
            )
