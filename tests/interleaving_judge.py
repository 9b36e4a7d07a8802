"""What must hold in every content of the storage, and what processes that have ended may say: for `tests.exploring`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format.index import Generation, decode_generation, decode_run_index, decode_segment
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.ids import ChunkId, PackId, SnapshotId
from chunkstore.operations.catalog import read_record
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.repository import Repository
from chunkstore.storage import MemoryStorage
from tests.engine import referenced
from tests.explored import KILLED, RUNNING, Ended, Failed
from tests.interleavings import World, storage_of


class Judge:
    """Looks at a content of the storage with the real readers of objects: every promise must hold in each of them.

    - A pack that an index in force names is there (it is never deleted before every index that lists it is superseded).
    - Every chunk that a snapshot needs is in such a pack.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._repository = world.client.open("check")
        self._packs: dict[bytes, dict[PackId, PackInfo]] = {}
        self._chunks: dict[tuple[PackId, int], frozenset[ChunkId]] = {}
        self._needed: dict[bytes, frozenset[ChunkId] | None] = {}

    def __call__(self, content: dict[str, bytes]) -> str:
        """What is wrong; nothing when all is well."""
        try:
            index = self.index(content)
        except Damaged as e:
            return f"the index is broken: {e}"
        chunks: set[ChunkId] = set()
        for pack_id, info in index.items():
            if names.pack(pack_id) not in content:
                return f"the index names pack {pack_id.hex()[:8]}, which is gone"
            chunks |= self._ids(info)
        for name in content:
            if name.startswith(names.SNAPSHOTS):
                needed = self.needed(name, content)
                if needed is not None and (lost := needed - chunks):
                    return f"snapshot {name[10:18]} lost {len(lost)} of {len(needed)} chunks"
        return ""

    def index(self, content: dict[str, bytes]) -> dict[PackId, PackInfo]:
        """The packs that are in an index in force."""
        numbers = [number for name in content if (number := names.number(name, names.GENERATIONS)) is not None]
        newest = Generation(0, (), frozenset(), frozenset())
        if numbers:
            name = names.generation(max(numbers))
            newest = decode_generation(self._body(name, content[name], ObjectKind.GENERATION), max(numbers))
        index: dict[PackId, PackInfo] = {}
        for digest in newest.segments:
            if (name := names.segment(digest)) not in content:
                raise Damaged("a segment of the newest generation is gone", name)
            index |= self._packs_of(name, content[name])
        for name in content:
            if name.startswith(names.RUNS) and name not in newest.absorbed:
                index |= self._packs_of(name, content[name])
        return {pack_id: info for pack_id, info in index.items() if pack_id not in newest.dropped}

    def copies(self, content: dict[str, bytes]) -> int:
        """How often the chunk is stored that is stored most often."""
        every = Counter(each for info in self.index(content).values() for each in self._ids(info))
        return max(every.values())

    def _packs_of(self, name: str, data: bytes) -> dict[PackId, PackInfo]:
        if data not in self._packs:
            if name.startswith(names.RUNS):
                infos = decode_run_index(self._body(name, data, ObjectKind.RUN_INDEX)).packs
            else:
                body = self._body(name, data, ObjectKind.INDEX_SEGMENT)
                infos = decode_segment(body, bytes.fromhex(name[len(names.SEGMENTS) :])).packs
            self._packs[data] = {info.pack_id: info for info in infos}
        return self._packs[data]

    def _ids(self, info: PackInfo) -> frozenset[ChunkId]:
        key = info.pack_id, len(info.frames)
        if key not in self._chunks:
            self._chunks[key] = frozenset(each for frame in info.frames for each in frame.ids)
        return self._chunks[key]

    def _body(self, name: str, data: bytes, kind: ObjectKind) -> bytes:
        storage = MemoryStorage()
        storage.put(name, data)
        return Repository(storage, self._repository.state, self._repository.config).read(name, kind)[1]

    def needed(self, name: str, content: dict[str, bytes]) -> frozenset[ChunkId] | None:
        """The chunks that a snapshot needs, as walking it told once; None for a tombstone."""
        data = content[name]
        if data not in self._needed:
            self._needed[data] = self._walk(SnapshotId(name[len(names.SNAPSHOTS) :]), content)
        return self._needed[data]

    def _walk(self, snapshot_id: SnapshotId, content: dict[str, bytes]) -> frozenset[ChunkId] | None:
        client = self._world.machine("judge", storage_of(content), cached=False)
        repository, index = client.open("check"), client.index()
        try:
            found = read_record(repository, snapshot_id)
            if found is None:
                return None
            sync_index(repository, index, Silent())
            return frozenset(referenced(ChunkReader(repository, index, LedgerKeys(repository.key)), found.record))
        finally:
            index.close()


@dataclass(frozen=True)
class Promises:
    """What processes that have ended may say: a writer that it committed, a reader what is true; none fails otherwise.

    `readers`: the snapshot that each one reads; one may fail, with an error that is meant for people, only if its snapshot is
    forgotten. `allowed`: parts of messages of errors in which any process may end.
    """

    judge: Judge
    readers: Mapping[str, SnapshotId] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()

    def __call__(self, content: dict[str, bytes], ended: Sequence[Ended]) -> str:
        taken = frozenset[str]().union(*(each.taken for each in ended))
        for each in ended:
            if isinstance(each.outcome, Failed):
                if not self._may_fail(each.name, each.outcome.text, content):
                    return f"{each.name} ended in {each.outcome.text}"
            elif each.outcome == "restored something else":
                return f"{each.name} {each.outcome}"
            elif each.outcome not in (KILLED, RUNNING) and each.name.startswith("writer"):
                name = names.snapshot(SnapshotId(str(each.outcome)))
                if name not in taken and (name not in content or self.judge.needed(name, content) is None):
                    return f"{each.name} said that it succeeded, and its snapshot is not there"
        return ""

    def _may_fail(self, process: str, error: str, content: dict[str, bytes]) -> bool:
        if any(part in error for part in self.allowed):
            return True
        if process not in self.readers or error.split(":")[0] not in ("SnapshotNotFound", "Damaged", "ObjectMissing"):
            return False
        name = names.snapshot(self.readers[process])
        return name not in content or self.judge.needed(name, content) is None


def how(ended: Ended) -> str:
    """How a process ended, for people."""
    if isinstance(ended.outcome, Failed):
        return ended.outcome.text.split(":")[0]
    if ended.outcome == KILLED:
        return "killed"
    if ended.name.startswith("writer"):
        return "committed" if ended.ids < 2 else f"committed, {ended.ids} ids"
    return str(ended.outcome)
