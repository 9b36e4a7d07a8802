"""The stages that `stages.py` measures: what each does with the material, and in whose thread the engine does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limits
from blake3 import blake3
from stage_material import BUFFER, Material, Pack, Source, cut, finish, grouped, raw_of

from chunkstore import aead
from chunkstore.compression import AUTO, Codec
from chunkstore.format import names
from chunkstore.ids import PackId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.parallel import PerThread
from chunkstore.repository.frames import OpenFrame
from chunkstore.tree.reading import open_source

RANGE = 9 << 20
"""What a restore asks for at once."""
MEMORY = 64 << 20


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of work: `work` is called with each of `items`, by any thread; `size` bytes go into all of them.

    `sides`: of which the stage is a part, snapshot, restore or none (a limit). `one_thread`: of which the engine does it
    in the one thread that decides.
    """

    name: str
    size: int
    items: Sequence[Any]
    work: Callable[[Any], object]
    sides: tuple[str, ...] = ()
    one_thread: tuple[str, ...] = ()


def stages(made: Material, tree: Path, work: Path) -> list[Stage]:
    """All of them, in the order in which a snapshot and then a restore need them."""
    return [
        Stage("memory copy (limit)", 4 * MEMORY, range(4), _copier()),
        Stage("walk: scandir, lstat", made.total, [tree], lambda path: limits.walk(str(path)), SNAPSHOT, SNAPSHOT),
        *_snapshot_stages(made),
        *_restore_stages(made, work),
    ]


SNAPSHOT, RESTORE, BOTH = ("snapshot",), ("restore",), ("snapshot", "restore")


def _snapshot_stages(made: Material) -> list[Stage]:
    new, stored = sum(frame.used for frame in made.frames), sum(map(len, made.stored))
    repository, key = made.repository.key.repository_id, made.key
    codecs = PerThread(lambda: Codec(_capacity(made), AUTO))

    def compress(frame: OpenFrame) -> None:
        codecs.get().compress(raw_of(frame))

    def encrypt(item: tuple[bytes, OpenFrame]) -> None:
        payload, frame = item
        aead.seal_frame(memoryview(payload), key, repository, frame.kind, frame.used, os.urandom)

    def verify(item: tuple[bytearray, OpenFrame]) -> None:
        data, frame = item
        plain = made.coder.decode(memoryview(data), key, frame.kind, frame.used)
        made.coder.check(plain, frame.kind, frame.ids, frame.lengths)

    def write(data: bytearray) -> None:
        made.repository.storage.put(names.pack(PackId(os.urandom(32))), data)

    sealed = list(zip(made.stored, made.frames, strict=True))
    return [
        Stage("read files", made.raw, grouped(made.sources, _size), _reader(), SNAPSHOT, SNAPSHOT),
        Stage("chunk", made.raw, grouped(made.contents, len), _cutter(made), SNAPSHOT, SNAPSHOT),
        Stage("hash (BLAKE3)", made.raw, grouped(made.chunks, len), _hasher(made), BOTH, SNAPSHOT),
        Stage("compress (zstd, auto)", new, made.frames, compress, SNAPSHOT),
        Stage("encrypt (AES-GCM)", stored, list(zip(made.payloads, made.frames, strict=True)), encrypt, SNAPSHOT),
        Stage("verify what was encoded", new, sealed, verify, SNAPSHOT),
        Stage("pack (join, SHA-256)", stored, made.packs, lambda pack: _finished(made, pack), SNAPSHOT),
        Stage("write packs, flushed", stored, [data for _, data in made.put], write, SNAPSHOT),
    ]


def _restore_stages(made: Material, work: Path) -> list[Stage]:
    new, stored = sum(frame.used for frame in made.frames), sum(map(len, made.stored))
    repository, key, storage = made.repository.key.repository_id, made.key, made.repository.storage
    codecs = PerThread(lambda: Codec(_capacity(made), AUTO))
    buffers = PerThread(lambda: bytearray(_capacity(made) + 64))
    for name, data in made.put:
        storage.put(name, data)
    ranges = [(name, at) for name, data in made.put for at in range(0, len(data), RANGE)]

    def decrypt(item: tuple[bytearray, OpenFrame]) -> None:
        data, frame = item
        aead.open_frame(memoryview(data), key, repository, ChunkKind.CONTENT, frame.used, buffers.get())

    def inflate(item: tuple[bytes, OpenFrame]) -> None:
        payload, frame = item
        codecs.get().decompress(memoryview(payload), frame.used)

    files = list(zip(made.sources, made.contents, strict=True))
    return [
        Stage("fetch ranges", stored, ranges, lambda item: storage.get(item[0], item[1], RANGE), RESTORE),
        Stage("decrypt (AES-GCM)", stored, list(zip(made.stored, made.frames, strict=True)), decrypt, RESTORE),
        Stage("decompress (zstd)", new, list(zip(made.payloads, made.frames, strict=True)), inflate, RESTORE),
        Stage("write files", made.raw, grouped(files, lambda each: len(each[1])), _writer(work), RESTORE, RESTORE),
    ]


def _capacity(made: Material) -> int:
    return max(made.repository.config.frame_size, made.chunker.max_size)


def _size(source: Source) -> int:
    return source.size


def _finished(made: Material, pack: Pack) -> None:
    finish(made, pack)


def _copier() -> Callable[[object], None]:
    """memcpy between two buffers of each thread. Holds the interpreter's lock: only processes scale."""
    buffers = PerThread(lambda: (memoryview(bytearray(MEMORY)), memoryview(bytearray(os.urandom(1 << 20) * 64))))

    def copy(_: object) -> None:
        target, source = buffers.get()
        target[:] = source

    return copy


def _reader() -> Callable[[list[Source]], None]:
    buffers = PerThread(lambda: memoryview(bytearray(BUFFER)))

    def read(group: list[Source]) -> None:
        buffer = buffers.get()
        for source in group:
            descriptor = open_source(source.path)
            try:
                os.fstat(descriptor)
                at = 0
                while at < source.size and (count := os.preadv(descriptor, [buffer[: source.size - at]], at)):
                    at += count
            finally:
                os.close(descriptor)

    return read


def _cutter(made: Material) -> Callable[[list[bytes]], None]:
    def cut_all(group: list[bytes]) -> None:
        for content in group:
            for _ in cut(made.chunker, content):
                pass

    return cut_all


def _hasher(made: Material) -> Callable[[list[memoryview]], None]:
    key = made.id_key

    def hash_all(group: list[memoryview]) -> None:
        for chunk in group:
            blake3(chunk, key=key).digest()

    return hash_all


def _writer(work: Path) -> Callable[[list[tuple[Source, bytes]]], None]:
    """Creates the files of a group anew, in a directory that nobody else uses: open, write, utime, chmod, close."""

    def write(group: list[tuple[Source, bytes]]) -> None:
        directory = os.fsencode(work / "files" / os.urandom(8).hex())
        os.makedirs(directory)
        for number, (_, content) in enumerate(group):
            descriptor = os.open(b"%b/%d" % (directory, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(descriptor, view[:BUFFER]) :]
                os.utime(descriptor, ns=(0, 0))
                os.fchmod(descriptor, 0o644)
            finally:
                os.close(descriptor)

    return write
