"""What chunks of a foreign Zarr store may be packed with, and how much they may unpack to.

Owns the codecs that are decoded, and the check of each chunk before it is decoded: codecs unpack a
chunk to whatever size it says, before Zarr compares the result with the metadata.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from zarr.abc.codec import Codec
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.codecs.sharding import ShardingCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.codec_pipeline import BatchedCodecPipeline

from squall.datasets.errors import DataError
from squall.datasets.unpacking import UnpacksTooMuch

MAX_CHUNKS_IN_SHARD = 2**16
LEAST_LIMIT = 2**20  # small chunks may unpack to so many bytes
WIDEST = 8  # bytes of a number
_ZSTD_MAGIC = (0xFD2FB528).to_bytes(4, "little")
_ZSTD_BLOCK = 2**17  # bytes that a packed block gives at most
_ZSTD_LEAST = 2**10  # bytes that a block counts at least: a header is short
_KEEP_SIZE = {
    "bytes", "endian", "transpose", "shuffle", "bitround",
    "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3",
}  # fmt: skip
_CHANGE_TYPE = {"delta", "fixedscaleoffset", "astype", "quantize"}


def checked(array: Any, title: str) -> Any:
    """The same array of numbers, which refuses chunks that unpack to more than its metadata say.

    Raises
    ------
    DataError
        If it is packed with codecs that are not decoded here.
    """
    opened = array.async_array
    codecs = list(opened.codec_pipeline)
    shards = [codec for codec in codecs if isinstance(codec, ShardingCodec)]
    _check_chain([codec for codec in codecs if codec not in shards], title)
    for shard in shards:
        _check_chain(shard.codecs, title)
        is_plain = all(isinstance(c, BytesCodec | Crc32cCodec) for c in shard.index_codecs)
        count = prod(array.shards) // max(prod(array.chunks), 1)
        if not is_plain or count > MAX_CHUNKS_IN_SHARD:
            raise DataError(
                f"{title} has shards of {count:,} chunks, at most {MAX_CHUNKS_IN_SHARD:,} are "
                "read, or a packed index of them; write the store anew, for example with xarray"
            )
    # not by Zarr's setting for pipelines, which would hold for all stores of this process
    pipeline = _BoundedPipeline.from_codecs([_bounded(codec) for codec in codecs])
    object.__setattr__(opened, "codec_pipeline", pipeline)
    return array


def _check_chain(codecs: Sequence[Codec], title: str) -> None:
    """Refuse unknown codecs, several compressors, and numbers in too many bytes."""
    settings = [_settings(codec) for codec in _flat(codecs)]
    names = [str(of_codec["name"]) for of_codec in settings]
    packed = [name for name in names if name in _SIZES]
    known = {*_KEEP_SIZE, *_CHANGE_TYPE, *_SIZES}
    # a checksum of another kind stands before the data, so that their size would not be found
    last = names[:-1] if codecs and isinstance(codecs[-1], Crc32cCodec) else names
    if set(names) - known or len(packed) > 1 or (packed and last[-1:] != packed):
        raise DataError(
            f"{title} is packed with {', '.join(names)}; only {', '.join(sorted(known))} are "
            "read, and one that compresses has to be the last; write the store anew, for example "
            "with xarray"
        )
    for of_codec in settings:
        types = [v for key, v in of_codec.items() if key == "astype" or key.endswith("dtype")]
        if any(np.dtype(text).itemsize > WIDEST for text in types):
            raise DataError(f"{title} is packed with {of_codec}, expected numbers")


class _BoundedPipeline(BatchedCodecPipeline):
    """Decodes chunks after a check of the size to which they unpack."""

    async def decode_batch(
        self, chunk_bytes_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]
    ) -> Iterable[NDBuffer | None]:
        chunks = list(chunk_bytes_and_specs)
        for content, spec in chunks:
            if content is not None:
                _check_size(_flat(list(self)), content.to_bytes(), spec)
        return await super().decode_batch(chunks)


class _BoundedSharding(ShardingCodec):
    @property
    def codec_pipeline(self) -> _BoundedPipeline:
        return _BoundedPipeline.from_codecs(self.codecs)


def _bounded(codec: Codec) -> Codec:
    if not isinstance(codec, ShardingCodec):
        return codec
    return _BoundedSharding(
        chunk_shape=codec.chunk_shape,
        codecs=codec.codecs,
        index_codecs=codec.index_codecs,
        index_location=codec.index_location,
    )


def _flat(codecs: Sequence[Any]) -> list[Any]:
    """Codecs in the order of encoding; those of Zarr 2 stand in one of Zarr 3."""
    if not codecs or not hasattr(codecs[0], "compressor"):
        return list(codecs)
    (both,) = codecs
    return [codec for codec in (*(both.filters or ()), both.compressor) if codec is not None]


def _settings(codec: Any) -> dict[str, Any]:
    """Settings of a codec of Zarr 2 or 3, and its ``name``."""
    if hasattr(codec, "codec_id"):
        return {**codec.get_config(), "name": codec.codec_id}
    described = codec.to_dict()
    name = described["name"].removeprefix("numcodecs.")
    return {**(described.get("configuration") or {}), "name": name}


def _check_size(codecs: Sequence[Any], content: bytes, spec: ArraySpec) -> None:
    """Refuse a chunk that would unpack to more bytes than its numbers have."""
    names = {str(_settings(codec)["name"]) for codec in codecs}
    own = spec.dtype.to_native_dtype().itemsize
    width = max(own, WIDEST) if names & _CHANGE_TYPE else own
    limit = LEAST_LIMIT + width * prod(spec.shape)
    for name in names & _SIZES.keys():
        if _SIZES[name](content, limit) > limit:
            raise UnpacksTooMuch(
                f"a chunk of {len(content):,} bytes would unpack to more than {limit:,} bytes, "
                f"which its {prod(spec.shape):,} numbers do not have"
            )


def _trial(start: Callable[[], Any]) -> Callable[[bytes, int], int]:
    """A function of data that unpacks them to at most one byte more than a limit."""

    def size(content: bytes, limit: int) -> int:
        total = 0
        while content and total <= limit:
            stream = start()
            try:
                total += len(stream.decompress(content, limit + 1 - total))
            except (zlib.error, OSError, ValueError, EOFError):
                break  # the codec says what is wrong
            content = stream.unused_data
        return total

    return size


def _zstd_size(content: bytes, limit: int) -> int:
    """How much Zstandard data unpack to at most: as declared, or by the headers of their blocks.

    Format: RFC 8878. Without a declared size the codec unpacks block by block, without a limit.
    """
    total = place = 0
    while content[place : place + 4] == _ZSTD_MAGIC and place + 6 < len(content):
        descriptor = content[place + 4]
        is_single = descriptor >> 5 & 1
        place += 6 - is_single + (0, 1, 2, 4)[descriptor & 3]
        length = (is_single, 2, 4, 8)[descriptor >> 6]
        if length:
            declared = int.from_bytes(content[place : place + length], "little")
            return total + declared + 256 * (length == 2)
        is_last = False
        while not is_last and place < len(content) and total <= limit:
            header = int.from_bytes(content[place : place + 3], "little")
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            place += 3 + (1 if kind == 1 else size)
            total += _ZSTD_BLOCK if kind == 2 else max(size, _ZSTD_LEAST)
        place += 4 * (descriptor >> 2 & 1)
    return total


# compressors, with functions of data and a limit: how many bytes they give
_SIZES: dict[str, Callable[[bytes, int], int]] = {
    "blosc": lambda content, _: int.from_bytes(content[4:8], "little"),
    "lz4": lambda content, _: int.from_bytes(content[:4], "little"),
    "zstd": _zstd_size,
    "gzip": _trial(lambda: zlib.decompressobj(47)),
    "zlib": _trial(lambda: zlib.decompressobj(47)),
    "bz2": _trial(bz2.BZ2Decompressor),
}
