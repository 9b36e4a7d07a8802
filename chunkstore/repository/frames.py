"""Frames in memory: filling them with chunks, encoding them (in workers), decoding them."""

from __future__ import annotations

from dataclasses import dataclass, field

from blake3 import blake3

from chunkstore import aead
from chunkstore.buffers import Buffers
from chunkstore.compression import Codec
from chunkstore.errors import Damaged
from chunkstore.ids import ChunkId, RandomBytes, RepositoryId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.keys.sealing import FrameKey
from chunkstore.parallel import PerThread

_BUFFERS = 24
"""Decoded frames that are held at once, usually."""


@dataclass(slots=True)
class OpenFrame:
    """A frame that is being filled: a buffer that is used again and again, and what is in it so far."""

    kind: ChunkKind
    buffer: bytearray = field(repr=False)
    used: int = 0
    ids: list[ChunkId] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def clear(self) -> None:
        self.used = 0
        self.ids = []
        self.lengths = []


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """A frame as it is stored, and the open frame it was made from (whose buffer is free again)."""

    source: OpenFrame
    stored: bytearray


class FrameCoder:
    """Encodes and decodes frames of one repository; pure, and used by many threads at once."""

    def __init__(
        self,
        repository_id: RepositoryId,
        chunk_id_keys: dict[ChunkKind, bytes],
        max_raw: int,
        level: int,
        random_bytes: RandomBytes,
    ) -> None:
        self._repository_id = repository_id
        self._id_keys = chunk_id_keys
        self._random_bytes = random_bytes
        self._max_raw = max_raw
        self._codecs = PerThread(lambda: Codec(max_raw, level))
        self._buffers = PerThread(lambda: bytearray(max_raw + 64))
        self._kept = Buffers(max_raw + 1, _BUFFERS)

    def encode(self, frame: OpenFrame, key: FrameKey, verify: bool) -> SealedFrame:
        """Compress and seal. With `verify` the result is opened, inflated and hashed again before anybody gets it:
        that catches a bad compressor, bad memory, and a buffer that was used again too early.
        """
        raw = memoryview(frame.buffer)[: frame.used]
        payload = self._codecs.get().compress(raw)
        stored = aead.seal_frame(payload, key, self._repository_id, frame.kind, frame.used, self._random_bytes)
        if verify:
            plain = self.decode(memoryview(stored), key, frame.kind, frame.used)
            self.check(plain, frame.kind, frame.ids, frame.lengths)
        return SealedFrame(frame, stored)

    def decode(self, stored: memoryview, key: FrameKey, kind: ChunkKind, raw: int, *, keep: bool = False) -> memoryview:
        """The raw bytes, as a view that is valid until this thread decodes again, or with `keep` as long as it is held.
        Chunk ids are not checked here.
        """
        if raw > self._max_raw:
            raise Damaged(f"frame claims {raw} bytes, more than the configured maximum")
        payload = aead.open_frame(stored, key, self._repository_id, kind, raw, self._buffers.get())
        return self._codecs.get().decompress(payload, raw, self._kept.take() if keep else None)

    def check(self, raw: memoryview, kind: ChunkKind, ids: list[ChunkId], lengths: list[int]) -> None:
        """Raise `Damaged` unless the chunks in `raw` have these ids."""
        at = 0
        for chunk_id, length in zip(ids, lengths, strict=True):
            self.check_chunk(raw[at : at + length], kind, chunk_id)
            at += length

    def check_chunk(self, chunk: memoryview, kind: ChunkKind, chunk_id: ChunkId) -> None:
        """Raise `Damaged` unless the chunk has this id (I-6)."""
        if blake3(chunk, key=self._id_keys[kind]).digest() != chunk_id:
            raise Damaged(f"chunk {chunk_id.hex()[:16]} is not what its id says")
