"""One frame's bytes smaller, and back. Pure; keeps its contexts and buffers, so one codec per thread.

A payload is one method byte and a body: 0 = the bytes as they are, 1 = one zstd frame with its content size.
"""

from __future__ import annotations

from typing import Final

import zstandard

from chunkstore.errors import Damaged

RAW: Final = 0
ZSTD: Final = 1
DEFAULT_LEVEL = 3
AUTO: Final = 0
"""As a level: `DEFAULT_LEVEL`, but the quickest one for frames of which a sample does not shrink."""
OFF: Final = -1
"""As a level: nothing is compressed."""
_QUICK = 1
_SPOTS, _SPOT = 8, 4096
_WORTH_IT = 0.98
"""A sample that keeps more of its size than this is of data that was compressed or encrypted before."""


class Codec:
    """Compresses and decompresses frames up to `max_raw` bytes, into buffers that it reuses.

    Results are views of those buffers: valid until the next call of the same method. Reuse matters: two threads that
    allocate and free blocks of this size all the time spend their time in page faults.
    """

    def __init__(self, max_raw: int, level: int = DEFAULT_LEVEL) -> None:
        self._max_raw = max_raw
        self._level = level
        self._compressor = _compressor(max(level, 1) if level != AUTO else DEFAULT_LEVEL)
        self._quick = _compressor(_QUICK)
        self._decompressor = zstandard.ZstdDecompressor()
        self._packed = bytearray(1 + max_raw + (max_raw >> 7) + 1024)
        self._plain = bytearray(max_raw + 1)

    def compress(self, raw: memoryview) -> memoryview:
        """The payload: method byte and body. Kept raw where compression does not make it smaller."""
        size = len(raw)
        view = memoryview(self._packed)
        if self._level != OFF:
            compressor = self._quick if self._level == AUTO and not self._shrinks(raw) else self._compressor
            with compressor.stream_reader(raw, size=size, closefd=False) as reader:
                length = 0
                while step := reader.readinto(view[1 + length :]):
                    length += step
            if length < size:
                view[0] = ZSTD
                return view[: 1 + length]
        view[0] = RAW
        view[1 : 1 + size] = raw
        return view[: 1 + size]

    def _shrinks(self, raw: memoryview) -> bool:
        """Whether it is worth an effort: some spots, 3 % of a whole frame, say so. Small ones are not asked."""
        size = len(raw)
        if size < 4 * _SPOTS * _SPOT:
            return True
        step = (size - _SPOT) // (_SPOTS - 1)
        sample = b"".join(raw[at : at + _SPOT] for at in range(0, _SPOTS * step, step))
        return len(self._quick.compress(sample)) < _WORTH_IT * len(sample)

    def decompress(self, payload: memoryview, raw_size: int, into: memoryview | None = None) -> memoryview:
        """The raw bytes; `Damaged` unless they are exactly `raw_size` long.

        With `into`, which has one byte more than `max_raw` at least, they are always there.
        """
        if raw_size > self._max_raw:
            raise Damaged(f"frame claims {raw_size} bytes, more than the configured maximum")
        if not len(payload):
            raise Damaged("empty frame")
        if payload[0] == RAW:
            body = payload[1:]
            if into is not None and len(body) == raw_size:
                into[:raw_size] = body
                body = into[:raw_size]
        elif payload[0] == ZSTD:
            body = self._inflate(payload[1:], raw_size, memoryview(self._plain) if into is None else into)
        else:
            raise Damaged(f"frame with unknown compression {payload[0]}")
        if len(body) != raw_size:
            raise Damaged("frame has another length than the index says")
        return body

    def _inflate(self, packed: memoryview, raw_size: int, view: memoryview) -> memoryview:
        try:
            if zstandard.frame_content_size(packed) != raw_size:
                raise Damaged("frame has another length than the index says")
            with self._decompressor.stream_reader(packed, closefd=False) as reader:
                length = 0
                while length <= raw_size and (step := reader.readinto(view[length : raw_size + 1])):
                    length += step
        except zstandard.ZstdError as e:
            raise Damaged("frame can not be decompressed") from e
        return view[:length]


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """zstd as its levels are, but for the default one.

    Level 3 has tables of 768 KiB, which do not fit the second cache of most processors. With these of 320 KiB, and matches of
    four bytes to make up for it, frames are 0.7 % larger and made up to 15 % faster (docs/performance.md).
    """
    if level != DEFAULT_LEVEL:
        return zstandard.ZstdCompressor(level=level, write_content_size=True)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, hash_log=16, chain_log=14, min_match=4, write_content_size=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters)
