"""The write session's chunks: one thread decides what is new; pools encode frames and store packs.

add -> known? -> open frame -> [encode, workers] -> pack -> [hash, put, workers] -> index object -> local index
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from blake3 import blake3

from chunkstore.errors import Damaged, InvalidArgument
from chunkstore.format import names
from chunkstore.format import pack as packs
from chunkstore.format.entries import MAX_SEGMENT
from chunkstore.format.index import RunIndex, encode_run_index
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import Frame, PackInfo, Slot, SlotType
from chunkstore.ids import ChunkId, RandomBytes, SnapshotId
from chunkstore.keys.derivation import SALT_SIZE, ChunkKind
from chunkstore.keys.sealing import READING_KEY_ID_SIZE, SEALED_DATA_KEY_SIZE, FrameKey, Sealer
from chunkstore.parallel import OrderedPool
from chunkstore.repository.frames import FrameCoder, OpenFrame, SealedFrame
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.repository import Repository
from chunkstore.repository.sparse_frames import Renewal
from chunkstore.repository.write_values import WriteOptions, Written
from chunkstore.storage.protocol import Buffer, connections

__all__ = ["ROWS_PER_INDEX_OBJECT", "ChunkWriter", "WriteOptions", "Written"]

ROWS_PER_INDEX_OBJECT = 50_000
_IDS_IN_MEMORY = 200_000
"""Ids of a first snapshot that are held in memory, 20 MB: as long as they are all there are, nothing is looked up."""
_BYTES_BEING_STORED = 96 << 20
"""Of packs on their way to the storage, however many connections it has; two packs may be more."""
_PLANES = {
    ChunkKind.CONTENT: ObjectKind.CONTENT_PACK,
    ChunkKind.MANIFEST: ObjectKind.TREE_PACK,
    ChunkKind.REFERENCE: ObjectKind.TREE_PACK,
}


class _OpenPack:
    """A pack that is being filled: its header and sealed frames, not joined yet."""

    def __init__(self, plane: ObjectKind, slots: tuple[Slot, ...], header: bytes) -> None:
        self.plane = plane
        self.slots = slots
        self.body: list[Buffer] = [header]
        self.frames: list[Frame] = []
        self.size = len(header)

    def append(self, sealed: SealedFrame, slot: int) -> None:
        source = sealed.source
        frame = Frame(source.kind, slot, self.size, len(sealed.stored), source.used, source.ids, source.lengths)
        self.frames.append(frame)
        self.body.append(sealed.stored)
        self.size += len(sealed.stored)


class ChunkWriter:
    """Adds chunks to a repository. One thread calls it; `close` it in any case.

    A chunk is stored at most once by a session. Rows of this session are provisional, in memory, until the index
    object that names their packs is stored; then they go to the local index (I-1).
    """

    def __init__(
        self,
        repository: Repository,
        index: LocalIndex,
        session: SnapshotId,
        random_bytes: RandomBytes,
        max_chunk: int,
        options: WriteOptions,
    ) -> None:
        self._repository = repository
        self._index = index
        self._session = session
        self._random_bytes = random_bytes
        self._options = options
        key, config = repository.key, repository.config
        self._id_keys = key.chunk_id_keys
        self._content_key, self._content_size = self._id_keys[ChunkKind.CONTENT], config.frame_size
        self._space = memoryview(b"")
        self._frame_size = {ChunkKind.CONTENT: config.frame_size}
        self._frame_size[ChunkKind.MANIFEST] = self._frame_size[ChunkKind.REFERENCE] = config.frame_size // 4
        self._capacity = max(config.frame_size, max_chunk, MAX_SEGMENT)
        self._slots, self._frame_keys = self._make_keys()
        self._coder = FrameCoder(key.repository_id, self._id_keys, self._capacity, options.level, random_bytes)
        self._free: list[bytearray] = []
        self._open: dict[ChunkKind, OpenFrame] = {}
        self._packs: dict[ObjectKind, _OpenPack] = {}
        window = 2 * options.workers
        self._encoding = OrderedPool[OpenFrame, SealedFrame](self._encode, options.workers, window, "encode")
        most = max(_BYTES_BEING_STORED // config.pack_size, 2)
        uploads = min(connections(repository.storage), most) if options.workers else 0
        self._storing = OrderedPool[_OpenPack, PackInfo](self._store, uploads, uploads, "store", ready=uploads)
        self._own: set[ChunkId] = set()
        self._own_is_all = index.is_empty()
        self._generation = index.generation
        self._renewal = Renewal(index, options.renew_percent, options.renew_floor)
        self._sparse = self._renewal.active
        self._unindexed: list[PackInfo] = []
        self._unindexed_rows = 0
        self._index_objects = 0
        self.written = Written()

    def _make_keys(self) -> tuple[dict[ChunkKind, Slot], dict[ChunkKind, FrameKey]]:
        """The keys of this run: a data key for the content plane, a ledger key for references."""
        key = self._repository.key
        data_key, sealed = Sealer(key.reading_keys[-1], key.repository_id, self._random_bytes).new_data_key()
        generation, salt = key.newest_generation, self._random_bytes(SALT_SIZE)
        reference_key, reference_id = generation.reference_frame_key(salt)
        data = Slot(SlotType.DATA_KEY, sealed.key_id, sealed.reading_key_id, sealed.sealed)
        ledger = Slot(
            SlotType.LEDGER,
            reference_id,
            generation.key_id.ljust(READING_KEY_ID_SIZE, b"\0"),
            salt.ljust(SEALED_DATA_KEY_SIZE, b"\0"),
        )
        frame_keys = {
            ChunkKind.CONTENT: data_key,
            ChunkKind.MANIFEST: data_key,
            ChunkKind.REFERENCE: FrameKey(reference_id, reference_key),
        }
        return {ChunkKind.CONTENT: data, ChunkKind.MANIFEST: data, ChunkKind.REFERENCE: ledger}, frame_keys

    # -- deciding

    def space(self, size: int) -> memoryview:
        """Room for one content chunk of up to `size` bytes, to be read into and handed to `take`.

        Saves small files a copy: they are read where they will be compressed.
        """
        frame = self._open.get(ChunkKind.CONTENT)
        if frame is None or not 0 < size <= self._content_size - frame.used:
            frame = self._frame_for(ChunkKind.CONTENT, size)
        self._space = memoryview(frame.buffer)[frame.used : frame.used + size]
        return self._space

    def take(self, size: int) -> ChunkId:
        """The first `size` bytes of the last `space` are a chunk: its id. Stored only when it is not known."""
        frame = self._open[ChunkKind.CONTENT]
        chunk_id = ChunkId(blake3(self._space[:size], key=self._content_key).digest())
        if not self.knows(chunk_id) or (self._sparse and self._renews(chunk_id, size)):
            self._append(frame, chunk_id, size)
        return chunk_id

    def add(self, kind: ChunkKind, data: bytes | memoryview) -> ChunkId:
        """The id of this chunk, which is stored if it is not known."""
        chunk_id = ChunkId(blake3(data, key=self._id_keys[kind]).digest())
        if not self.knows(chunk_id) or (self._sparse and self._renews(chunk_id, len(data))):
            frame = self._frame_for(kind, len(data))
            frame.buffer[frame.used : frame.used + len(data)] = data
            self._append(frame, chunk_id, len(data))
        return chunk_id

    def knows(self, chunk_id: ChunkId) -> bool:
        """Whether the chunk may be relied on: written by this session, or in a pack no plan condemns."""
        return chunk_id in self._own or (not self._own_is_all and self._index.knows(chunk_id))

    def _renews(self, chunk_id: ChunkId, size: int) -> bool:
        """Whether a known chunk is stored once more, because the frames that have it are sparse."""
        return chunk_id not in self._own and self._renewal.wants(chunk_id, size, self.written.raw)

    def _append(self, frame: OpenFrame, chunk_id: ChunkId, size: int) -> None:
        frame.ids.append(chunk_id)
        frame.lengths.append(size)
        frame.used += size
        self._own.add(chunk_id)
        self.written.chunks += 1
        self.written.raw += size
        if frame.kind == ChunkKind.CONTENT:
            self.written.content_raw += size

    def _frame_for(self, kind: ChunkKind, size: int) -> OpenFrame:
        """The open frame of this kind, with room for `size` bytes."""
        if not 0 < size <= self._capacity:
            raise InvalidArgument(f"a chunk of {size} bytes does not fit the repository's frames")
        frame = self._open.get(kind)
        if frame is not None and frame.used and frame.used + size > self._frame_size[kind]:
            self._close_frame(frame)
            frame = None
        if frame is None:
            buffer = self._free.pop() if self._free else bytearray(self._capacity)
            frame = self._open[kind] = OpenFrame(kind, buffer)
        return frame

    # -- encoding and storing

    def _encode(self, frame: OpenFrame) -> SealedFrame:
        return self._coder.encode(frame, self._frame_keys[frame.kind], self._options.verify)

    def _close_frame(self, frame: OpenFrame) -> None:
        del self._open[frame.kind]
        self._place(self._encoding.submit(frame))

    def _place(self, sealed_frames: Iterable[SealedFrame]) -> None:
        """Put finished frames into packs, and full packs on their way."""
        for sealed in sealed_frames:
            kind = sealed.source.kind
            plane = _PLANES[kind]
            pack = self._packs.get(plane)
            if pack is None:
                pack = self._packs[plane] = self._new_pack(plane)
            pack.append(sealed, 0 if kind != ChunkKind.REFERENCE else 1)
            self._free.append(sealed.source.buffer)
            self.written.frames += 1
            if kind == ChunkKind.CONTENT:
                self.written.content_stored += len(sealed.stored)
            if pack.size >= self._repository.config.pack_size:
                self._close_pack(pack)

    def _new_pack(self, plane: ObjectKind) -> _OpenPack:
        slots = [self._slots[ChunkKind.CONTENT]]
        if plane == ObjectKind.TREE_PACK:
            slots.append(self._slots[ChunkKind.REFERENCE])
        header = packs.header(plane, slots, self._repository.state.messages, self._repository.key)
        return _OpenPack(plane, tuple(slots), header)

    def _close_pack(self, pack: _OpenPack) -> None:
        del self._packs[pack.plane]
        self._note_stored(self._storing.submit(pack))

    def _store(self, pack: _OpenPack) -> PackInfo:
        info, data = packs.finish(
            pack.plane, pack.slots, pack.frames, pack.body, self._repository.key, self._random_bytes
        )
        self._repository.storage.put(names.pack(info.pack_id), data)
        return info

    def _note_stored(self, infos: Iterable[PackInfo]) -> None:
        for info in infos:
            self.written.packs += 1
            self.written.stored += info.size
            self._unindexed.append(info)
            self._unindexed_rows += sum(len(frame.ids) for frame in info.frames)
        enough = len(self._unindexed) >= self._options.packs_per_index_object
        if enough or self._unindexed_rows >= ROWS_PER_INDEX_OBJECT:
            self._write_index_object()

    def _write_index_object(self) -> None:
        """Publish the stored packs; from here on others can rely on them, and so can the next run."""
        name = names.run_index(self._session, self._index_objects)
        infos = tuple(self._unindexed)
        body = encode_run_index(RunIndex(self._session, infos))
        data = self._repository.seal(ObjectKind.RUN_INDEX, name, body, self._random_bytes)
        if not self._repository.storage.put_if_absent(name, data) and self._repository.storage.get(name) != data:
            raise Damaged("somebody else wrote an object of this session", name)
        self.written.stored += len(data)
        self._index_objects += 1
        added = False

        def add() -> None:
            nonlocal added
            added = self._index.add_own(name, infos, self._generation)

        self._index.change(add)
        self._own_is_all = self._own_is_all and len(self._own) < _IDS_IN_MEMORY
        if added and not self._own_is_all:
            for info in infos:
                for frame in info.frames:
                    self._own.difference_update(frame.ids)
        self._unindexed = []
        self._unindexed_rows = 0

    # -- ending

    def flush(self) -> None:
        """Store everything that was added and publish it in an index object."""
        for frame in list(self._open.values()):
            if frame.used:
                self._close_frame(frame)
        self._place(self._encoding.drain())
        for pack in list(self._packs.values()):
            self._close_pack(pack)
        self._note_stored(self._storing.drain())
        if self._unindexed:
            self._write_index_object()

    def go_on_as(self, session: SnapshotId) -> None:
        """After a `flush`: what is stored from now on is stored by this session."""
        assert not self._unindexed
        self._session = session
        self._index_objects = 0

    def close(self) -> None:
        """Stop the workers; what was not flushed is forgotten."""
        self._encoding.close()
        self._storing.close()

    def __enter__(self) -> ChunkWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
