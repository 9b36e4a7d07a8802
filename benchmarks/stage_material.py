"""What the stages of `stages.py` work on: a sample of a tree, made ready once for each of them, in memory.

files -> their bytes -> chunks -> frames of new chunks -> payloads -> sealed frames -> packs, each by the engine's own code with
the keys of a repository made for it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from chunkstore import aead
from chunkstore.chunking import Chunker, make_chunker, parse_chunker
from chunkstore.compression import AUTO, Codec
from chunkstore.format import names
from chunkstore.format import pack as packs
from chunkstore.format.config import RecipientEntry
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import Frame, Slot, SlotType
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.keys.sealing import FrameKey, Sealer
from chunkstore.operations.init import InitOptions, init
from chunkstore.repository.frames import FrameCoder, OpenFrame
from chunkstore.repository.places import Places
from chunkstore.repository.repository import Repository, Surroundings, open_repository
from chunkstore.storage import LocalStorage

T = TypeVar("T")

BUFFER = 8 << 20
"""As the engine's: what is read and cut at once."""
LARGE = 16 << 20
GROUP_BYTES, GROUP_ITEMS = 1 << 20, 256
"""What a worker is handed at once."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the sample, and how many bytes of it belong to it."""

    path: bytes
    relative: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Pack:
    """The frames of one pack: its body without an end, and what `packs.finish` wants to know."""

    body: list[bytes | bytearray]
    frames: list[Frame]


@dataclass
class Material:
    """Everything the stages take, in the order in which it is made. `total`: bytes in the tree."""

    repository: Repository
    key: FrameKey
    slot: Slot
    chunker: Chunker
    coder: FrameCoder
    total: int = 0
    sources: list[Source] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    chunks: list[memoryview] = field(default_factory=list)
    frames: list[OpenFrame] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    stored: list[bytearray] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    put: list[tuple[str, bytearray]] = field(default_factory=list)

    @property
    def raw(self) -> int:
        return sum(source.size for source in self.sources)

    @property
    def id_key(self) -> bytes:
        return self.repository.key.chunk_id_keys[ChunkKind.CONTENT]


def repository_in(work: Path) -> Repository:
    """A new one with usual settings. No gpg: its messages are sealed for nobody."""
    places = Places(work / "state", work / "cache")
    around = Surroundings(lambda: 1_700_000_000 * 10**9, os.urandom, places, "host", "user", "benchmark", 1)
    storage = LocalStorage(work / "repository", create=True)
    recipient = RecipientEntry("A" * 40, "B" * 40, "Test <test@example.org>", b"public key")
    init(storage, [recipient], lambda message: message, InitOptions(parse_chunker("pyfastcdc")), around)
    return open_repository(storage, places, "write")


def prepare(tree: Path, work: Path, budget: int) -> Material:
    """All of it, from a sample of at most about `budget` bytes. Takes about twice the sample in memory."""
    repository = repository_in(work)
    key, config = repository.key, repository.config
    data_key, sealed = Sealer(key.reading_keys[-1], key.repository_id, os.urandom).new_data_key()
    slot = Slot(SlotType.DATA_KEY, sealed.key_id, sealed.reading_key_id, sealed.sealed)
    parameters = parse_chunker(config.chunker)
    capacity = max(config.frame_size, parameters.max_size)
    coder = FrameCoder(key.repository_id, key.chunk_id_keys, capacity, AUTO, os.urandom)
    made = Material(repository, data_key, slot, make_chunker(parameters, key.chunker_seed), coder)
    made.sources, made.total = sample(tree, budget)
    made.contents = [_read(source) for source in made.sources]
    made.chunks = [chunk for content in made.contents for chunk in cut(made.chunker, content)]
    made.frames = list(_frames(made.chunks, made.id_key, config.frame_size, capacity))
    codec = Codec(capacity, AUTO)
    made.payloads = [bytes(codec.compress(raw_of(frame))) for frame in made.frames]
    made.stored = [
        aead.seal_frame(memoryview(payload), data_key, key.repository_id, frame.kind, frame.used, os.urandom)
        for payload, frame in zip(made.payloads, made.frames, strict=True)
    ]
    made.packs = list(_packs(made, config.pack_size))
    for pack in made.packs:
        info, data = finish(made, pack)
        made.put.append((names.pack(info.pack_id), data))
    return made


def sample(tree: Path, budget: int) -> tuple[list[Source], int]:
    """Files spread evenly over the tree, of large ones the first part; and the bytes in all of it."""
    root = os.fsencode(tree)
    every = [Source(path, path[len(root) + 1 :], size) for path, size in _regular(root)]
    total = sum(each.size for each in every)
    if total <= budget:
        return every, total
    share, due, chosen = budget / total, 0.0, []
    for each in every:
        due += share
        if each.size >= LARGE:
            chosen.append(Source(each.path, each.relative, int(each.size * share)))
        elif due >= 1:
            chosen.append(each)
        due %= 1
    return chosen, total


def cut(chunker: Chunker, content: bytes) -> Iterator[memoryview]:
    """The chunks of a file, as the engine cuts them."""
    view, start = memoryview(content), 0
    while start < len(view):
        final = start + BUFFER >= len(view)
        window = view[start : start + BUFFER]
        at = 0
        for end in chunker.cut(window, final):
            yield window[at:end]
            at = end
        start += at


def raw_of(frame: OpenFrame) -> memoryview:
    """What is in the frame."""
    return memoryview(frame.buffer)[: frame.used]


def finish(made: Material, pack: Pack) -> tuple[packs.PackInfo, bytearray]:
    """The whole pack: joined, hashed, with its table."""
    key = made.repository.key
    return packs.finish(ObjectKind.CONTENT_PACK, [made.slot], pack.frames, list(pack.body), key, os.urandom)


def grouped(items: Sequence[T], size: Callable[[T], int]) -> list[list[T]]:
    """Neighbours, so many that they are worth handing to a worker."""
    groups: list[list[T]] = [[]]
    held = 0
    for item in items:
        if held >= GROUP_BYTES or len(groups[-1]) >= GROUP_ITEMS:
            groups.append([])
            held = 0
        groups[-1].append(item)
        held += size(item)
    return groups


def _regular(root: bytes) -> Iterator[tuple[bytes, int]]:
    for folder, folders, names_ in os.walk(root):
        folders.sort()
        for name in sorted(names_):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size:
                yield path, status.st_size


def _read(source: Source) -> bytes:
    with open(source.path, "rb") as file:
        return file.read(source.size)


def _frames(chunks: list[memoryview], id_key: bytes, frame_size: int, capacity: int) -> Iterator[OpenFrame]:
    """Chunks that were not there before, packed as the engine packs them."""
    seen: set[bytes] = set()
    frame = OpenFrame(ChunkKind.CONTENT, bytearray(capacity))
    for chunk in chunks:
        chunk_id = ChunkId(blake3(chunk, key=id_key).digest())
        if chunk_id in seen:
            continue
        seen.add(chunk_id)
        if frame.used and frame.used + len(chunk) > frame_size:
            yield frame
            frame = OpenFrame(ChunkKind.CONTENT, bytearray(capacity))
        frame.buffer[frame.used : frame.used + len(chunk)] = chunk
        frame.ids.append(chunk_id)
        frame.lengths.append(len(chunk))
        frame.used += len(chunk)
    if frame.used:
        yield frame


def _packs(made: Material, pack_size: int) -> Iterator[Pack]:
    messages, key = made.repository.state.messages, made.repository.key
    header = packs.header(ObjectKind.CONTENT_PACK, [made.slot], messages, key)
    pack, size = Pack([header], []), len(header)
    for frame, stored in zip(made.frames, made.stored, strict=True):
        pack.frames.append(Frame(frame.kind, 0, size, len(stored), frame.used, frame.ids, frame.lengths))
        pack.body.append(stored)
        size += len(stored)
        if size >= pack_size:
            yield pack
            pack, size = Pack([header], []), len(header)
    if pack.frames:
        yield pack
