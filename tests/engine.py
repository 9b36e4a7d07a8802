"""A small world for tests of the engine: repositories without gpg, trees, snapshots, restores, a look behind the storage.

As a program (`python -m tests.engine VERB LOCATION BASE PATH ...`) it does one thing in a process of its own, which can
be killed or whose memory can be measured. LOCATION is a path or a URL. It says `begin` when it starts to work, then `result`, then `peak KIB`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from chunkstore.chunking import parse_chunker
from chunkstore.errors import Damaged, ObjectMissing
from chunkstore.format import names
from chunkstore.format import pack as packs
from chunkstore.format.config import RecipientEntry
from chunkstore.format.entries import FILE, Entry
from chunkstore.format.index import (
    Generation,
    IndexSegment,
    RunIndex,
    decode_run_index,
    encode_generation,
    encode_segment,
    segment_digest,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.owners import Owners
from chunkstore.format.pack import PackInfo, read_pack
from chunkstore.format.records import SnapshotRecord, Tombstone, encode_tombstone
from chunkstore.format.runs import Plan, PlanDone, encode_plan, encode_plan_done
from chunkstore.format.tree_nodes import SegmentRef, decode_reference_node, decode_run
from chunkstore.ids import ID_SIZE, ChunkId, PackId, SnapshotId, is_snapshot_id
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.cat import cat
from chunkstore.operations.catalog import read_record
from chunkstore.operations.init import InitOptions, init
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import reading
from chunkstore.operations.restore.restoring import Restored, restore
from chunkstore.operations.snapshot.stream import Stream, snapshot_stream
from chunkstore.operations.snapshot.taking import SnapshotOptions, SnapshotResult, snapshot
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.chunk_writer import WriteOptions
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex, open_local_index
from chunkstore.repository.places import Places
from chunkstore.repository.repository import Repository, Surroundings, never_stop, open_repository
from chunkstore.storage import LocalStorage, MemoryStorage, ObjectInfo, Storage, StorageOptions, Waiting, open_storage
from chunkstore.storage.protocol import Buffer
from chunkstore.storage.publishing import by_link
from chunkstore.storage.ssh_options import SshOptions
from chunkstore.tree.target import Target

KIB = 1024
HOUR = 3600 * 10**9
YEAR = 365 * 24 * HOUR
ROOT = Path(__file__).parents[1]
RECIPIENT = RecipientEntry("A" * 40, "B" * 40, "Test <test@example.org>", b"public key")

Tree: TypeAlias = dict[bytes, tuple[object, ...]]
"""Relative path -> kind, mode, mtime and content or target."""


def scratch() -> str | None:
    """Where files of tests live: in memory where there is such a place, so that no test waits for a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def temporary_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chunkstore-", dir=scratch()) as path:
        yield Path(path)


def identity(message: bytes) -> bytes:
    """Seals and unseals, for nobody in particular."""
    return message


class Clock:
    """Time as it is told: a bit later at each look. Begins after all files were made, so that their times are trusted."""

    def __init__(self, now: int = 1_900_000_000 * 10**9, step: int = 10**6) -> None:
        self.now = now
        self.step = step

    def __call__(self) -> int:
        self.now += self.step
        return self.now


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot that was made, and what was said meanwhile."""

    result: SnapshotResult
    warnings: list[str]

    @property
    def id(self) -> SnapshotId:
        return self.result.signed.record.id

    @property
    def record(self) -> SnapshotRecord:
        return self.result.signed.record


class Stored(NamedTuple):
    """An entry of a manifest, the names of owners beside it, and what `cat` gives of a file."""

    entry: Entry
    owners: Owners
    content: bytes


@dataclass(frozen=True)
class Client:
    """A machine that is a client of the repository at `storage`; all that it keeps is below `base`."""

    storage: Storage
    base: Path
    clock: Callable[[], int] = field(default_factory=Clock)
    random_bytes: Callable[[int], bytes] = field(default_factory=lambda: random.Random(11).randbytes)
    workers: int = 0
    stop: Callable[[], bool] = never_stop
    packs_per_index_object: int = 2

    @property
    def around(self) -> Surroundings:
        return Surroundings(
            self.clock, self.random_bytes, self.places, "host", "user", "tests", self.workers, self.stop
        )

    @property
    def places(self) -> Places:
        return Places(self.base / "state", self.base / "cache")

    def but(self, **changes: object) -> Client:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def copy(self, base: Path) -> Client:
        """The same machine, as it is now, somewhere else."""
        shutil.copytree(self.base, base)
        return self.but(base=base)

    def without_cache(self) -> Client:
        shutil.rmtree(self.places.cache, ignore_errors=True)
        return self

    def create(
        self, chunker: str = "pyfastcdc:256,1K,4K", frame_size: int = 16 * KIB, pack_size: int = 32 * KIB
    ) -> Repository:
        options = InitOptions(parse_chunker(chunker), frame_size, pack_size)
        return init(self.storage, [RECIPIENT], identity, options, self.around)

    def open(self, operation: str = "read") -> Repository:
        return open_repository(self.storage, self.places, operation)

    def index(self) -> LocalIndex:
        """The local index, as it was left."""
        return open_local_index(self.places, self.open().key.repository_id)

    def snapshot(self, *paths: Path, **options: Any) -> Taken:
        """`options` go to `SnapshotOptions`."""
        progress = Silent()
        write = WriteOptions(workers=self.workers, packs_per_index_object=self.packs_per_index_object)
        result = snapshot(
            self.open("write"),
            [os.fsencode(path) for path in paths],
            b"/",
            SnapshotOptions(write=write, **options),
            self.around,
            progress,
        )
        return Taken(result, progress.warnings)

    def stream(self, name: bytes, stream: Stream, **options: Any) -> Taken:
        progress = Silent()
        write = WriteOptions(workers=self.workers)
        around, repository = self.around, self.open("write")
        result = snapshot_stream(repository, name, stream, SnapshotOptions(write=write, **options), around, progress)
        return Taken(result, progress.warnings)

    def stored(self, snapshot_id: SnapshotId) -> dict[bytes, Stored]:
        """What a snapshot says of each path, and the content of its files."""
        repository, progress = self.open("read"), Silent()
        signed = read_record(repository, snapshot_id)
        assert signed is not None, "a tombstone"
        with reading(repository, open_content(repository, identity), self.around, progress) as read:
            manifest = read.manifest(signed.record)
            return {
                each.path: Stored(
                    each.entry,
                    each.owners,
                    b"".join(cat(read.reader, manifest, each.path, 0, progress)) if each.entry.kind == FILE else b"",
                )
                for each in manifest.entries()
            }

    def restore(self, snapshot_id: SnapshotId) -> tuple[Tree, Restored]:
        """What a restore writes, and what it says of it."""
        return next(self._restores([snapshot_id]))

    def restore_to(self, snapshot_id: SnapshotId, target: Path) -> Restored:
        """Restore into a directory that stays."""
        repository, progress = self.open("read"), Silent()
        signed = read_record(repository, snapshot_id)
        assert signed is not None, "a tombstone"
        with (
            reading(repository, open_content(repository, identity), self.around, progress) as read,
            Target.prepare(os.fsencode(target)) as place,
        ):
            manifest = read.manifest(signed.record)
            return restore(read.reader, manifest, signed.record, None, place, self.workers, progress)

    def restored(self, snapshot_id: SnapshotId) -> Tree:
        """What a restore writes when nothing goes wrong."""
        return self.all_restored([snapshot_id])[snapshot_id]

    def all_restored(self, ids: Sequence[SnapshotId]) -> dict[SnapshotId, Tree]:
        """The same for several snapshots in one go, which is quicker."""
        trees = {}
        for snapshot_id, (tree, done) in zip(ids, self._restores(ids), strict=True):
            assert not done.problems, done.problems
            trees[snapshot_id] = tree
        return trees

    def restored_afresh(self, snapshot_id: SnapshotId) -> Tree:
        return self.all_restored_afresh([snapshot_id])[snapshot_id]

    def all_restored_afresh(self, ids: Sequence[SnapshotId]) -> dict[SnapshotId, Tree]:
        """The same with no cache: from what is in the storage alone."""
        with temporary_directory() as base:
            shutil.copytree(self.places.state, base / "it" / "state")
            return self.but(base=base / "it").all_restored(ids)

    def _restores(self, ids: Sequence[SnapshotId]) -> Iterator[tuple[Tree, Restored]]:
        repository, progress = self.open("read"), Silent()
        found = [read_record(repository, snapshot_id) for snapshot_id in ids]
        opener = open_content(repository, identity)
        with reading(repository, opener, self.around, progress) as read:
            for each in found:
                assert each is not None, "a tombstone"
                with temporary_directory() as target, Target.prepare(os.fsencode(target / "it")) as place:
                    manifest = read.manifest(each.record)
                    done = restore(read.reader, manifest, each.record, None, place, self.workers, progress)
                    yield describe(target / "it"), done


# -- trees


def describe(root: Path) -> Tree:
    """All that a restore has to bring back."""
    tree: Tree = {}
    top = os.fsencode(root)
    for directory, directories, files in os.walk(top):
        for path in [directory, *(os.path.join(directory, name) for name in directories + files)]:
            tree[os.path.relpath(path, top)] = _describe(path)
    return tree


def _describe(path: bytes) -> tuple[object, ...]:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return "link", os.readlink(path)
    common = stat.S_IMODE(status.st_mode), status.st_mtime_ns
    if stat.S_ISDIR(status.st_mode):
        return "directory", *common
    with open(path, "rb") as file:
        return "file", *common, status.st_size, hashlib.sha256(file.read()).hexdigest()


def make_tree(root: Path, seed: int, files: int = 18, largest: int = 24 * KIB) -> None:
    """Random files of all sizes in a few directories, a link, an empty file and an empty directory."""
    dice = random.Random(seed)
    for directory in ("a", "a/deep", "b", "empty"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    for n in range(files):
        size = dice.choice((0, 1, dice.randrange(300), dice.randrange(4000), dice.randrange(largest)))
        (root / ("a", "a/deep", "b", ".")[n % 4] / f"file-{n:04d}").write_bytes(dice.randbytes(size))
    (root / "b" / "large").write_bytes(dice.randbytes(2 * largest))
    (root / "b" / "link").symlink_to("../a/file-0000")


def edit_tree(root: Path, seed: int) -> None:
    """New, changed, longer, touched, moved and deleted files."""
    dice = random.Random(seed)
    files = sorted(path for path in root.rglob("file-*") if path.is_file())
    for path in dice.sample(files, len(files) // 3):
        match dice.randrange(5):
            case 0:
                path.write_bytes(dice.randbytes(dice.randrange(1, 12 * KIB)))
            case 1:
                path.write_bytes(path.read_bytes() + dice.randbytes(600))
            case 2:
                path.touch()
            case 3:
                path.rename(path.with_name(f"file-moved-{seed}-{path.name}"))
            case _:
                path.unlink()
    (root / f"new-{seed}").mkdir()
    for n in range(3):
        (root / f"new-{seed}" / f"file-{n}").write_bytes(dice.randbytes(9 * KIB))
    large = bytearray((root / "b" / "large").read_bytes())
    large[len(large) // 2 : len(large) // 2 + 10] = dice.randbytes(700)
    (root / "b" / "large").write_bytes(large)


# -- storages


def clone(storage: Storage, into: Storage | None = None) -> Storage:
    """Another storage with the same objects: one in memory, or an empty one that is given."""
    copy = MemoryStorage() if into is None else into
    for info in storage.list(""):
        copy.put(info.name, storage.get(info.name))
    return copy


def waiting() -> Waiting:
    """Patience with a server: real time, short pauses."""
    return Waiting(time.monotonic, time.sleep, lambda: 0.1, now=time.time)


def listed(storage: Storage, prefix: str = "") -> list[str]:
    return [info.name for info in storage.list(prefix)]


def flip(storage: Storage, name: str, at: int = -1) -> None:
    """Change one byte of an object: the middle one, or the one at `at`."""
    data = bytearray(storage.get(name))
    data[at if at >= 0 else len(data) // 2] ^= 0x40
    storage.put(name, data)


Hook: TypeAlias = Callable[[str, str], None]
"""Is told the verb and the name of a call."""


class WatchedStorage:
    """Passes calls on one at a time, and tells somebody before and after each."""

    def __init__(self, inner: Storage, before: Hook | None = None, after: Hook | None = None) -> None:
        self._inner = inner
        self._lock = threading.RLock()
        self._before = before
        self._after = after
        self._told = False

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, name: str, data: Buffer) -> None:
        with self._watched("put", name):
            self._inner.put(name, data)

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        with self._watched("put_if_absent", name):
            return self._inner.put_if_absent(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._watched("get", name):
            return self._inner.get(name, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._watched("list", prefix):
            return iter([*self._inner.list(prefix)])

    def stat(self, name: str) -> ObjectInfo:
        with self._watched("stat", name):
            return self._inner.stat(name)

    def delete(self, name: str) -> None:
        with self._watched("delete", name):
            self._inner.delete(name)

    @contextmanager
    def _watched(self, verb: str, name: str) -> Iterator[None]:
        with self._lock:
            self._tell(self._before, verb, name)
            yield
            self._tell(self._after, verb, name)

    def _tell(self, hook: Hook | None, verb: str, name: str) -> None:
        if hook is None or self._told:  # a hook that uses this storage itself does not hear of it
            return
        self._told = True
        try:
            hook(verb, name)
        finally:
            self._told = False


# -- behind the storage's back


def run_indexes(repository: Repository) -> dict[str, RunIndex]:
    """All run index objects that are authentic."""
    found = {}
    for name in listed(repository.storage, names.RUNS):
        try:
            _, body = repository.read(name, ObjectKind.RUN_INDEX)
            found[name] = decode_run_index(body)
        except Damaged:
            continue
    return found


def indexed_packs(repository: Repository) -> list[PackInfo]:
    """The packs that run index objects name, in the order of these objects."""
    return [info for run in run_indexes(repository).values() for info in run.packs]


def chunk_ids(packs: Sequence[PackInfo]) -> list[ChunkId]:
    return [chunk_id for info in packs for frame in info.frames for chunk_id in frame.ids]


def referenced(reader: ChunkReader, record: SnapshotRecord) -> set[ChunkId]:
    """Every chunk that a snapshot needs, found with the index key alone. Raises `Damaged` where the walk ends early."""
    found = {record.content_root}
    pending = [record.reference_root]
    while pending:
        node_id = pending.pop()
        found.add(node_id)
        for child in decode_reference_node(reader.read(ChunkKind.REFERENCE, node_id)).children:
            if isinstance(child, SegmentRef):
                found.add(child.segment_id)
                for run in child.runs:
                    found.add(run.run_id)
                    ids = decode_run(reader.read(ChunkKind.REFERENCE, run.run_id), run.count)
                    found.update(ChunkId(ids[at : at + ID_SIZE]) for at in range(0, len(ids), ID_SIZE))
            else:
                found.add(child.content_id)
                pending.append(child.reference_id)
    return found


def broken_promises(client: Client) -> list[str]:
    """What the order of publication (I-1) promises and the storage does not hold; empty when all is well."""
    repository = client.open("check")
    broken: list[str] = []
    whole: dict[PackId, bool] = {}

    def is_whole(pack_id: PackId) -> bool:
        if pack_id not in whole:
            try:
                read_pack(repository.storage.get(names.pack(pack_id)), pack_id, "pack", repository.key)
            except (Damaged, ObjectMissing):
                whole[pack_id] = False
            else:
                whole[pack_id] = True
        return whole[pack_id]

    with temporary_directory() as base:
        index = open_local_index(Places(client.places.state, base), repository.key.repository_id)
        sync_index(repository, index, Silent())
        broken += [f"the index names pack {each.hex()[:8]}" for each, _ in index.packs() if not is_whole(each)]
        reader = ChunkReader(repository, index, LedgerKeys(repository.key))
        for snapshot_id in snapshot_ids(repository.storage):
            found = read_record(repository, snapshot_id)
            if found is None:
                continue
            try:
                needed = referenced(reader, found.record)
            except Damaged as e:
                broken.append(f"snapshot {snapshot_id}: {e}")
                continue
            for chunk_id in needed:
                place = index.locate(chunk_id)
                if place is None:
                    broken.append(f"snapshot {snapshot_id}: chunk {chunk_id.hex()[:8]} is in no index")
                elif not is_whole(index.frame(place.frame).pack_id):
                    broken.append(f"snapshot {snapshot_id}: chunk {chunk_id.hex()[:8]} is in no whole pack")
        index.close()
    return broken


def snapshot_ids(storage: Storage) -> list[SnapshotId]:
    ids = [name[len(names.SNAPSHOTS) :] for name in listed(storage, names.SNAPSHOTS)]
    return [SnapshotId(each) for each in ids if is_snapshot_id(each)]


# -- what pruners write


def put_tombstone(repository: Repository, snapshot_id: SnapshotId) -> bool:
    body = encode_tombstone(Tombstone(snapshot_id, 1))
    return repository.create(ObjectKind.TOMBSTONE, names.snapshot(snapshot_id), body, os.urandom)


def put_plan(repository: Repository, number: int, packs: Sequence[PackId], generation: int = 0) -> None:
    """An open plan that condemns these packs, as dead, to repack and in no index in turn."""
    plan = Plan(number, 1, frozenset(packs[::3]), frozenset(packs[1::3]), frozenset(packs[2::3]), generation)
    assert repository.create(ObjectKind.PLAN, names.plan(number), encode_plan(plan), os.urandom)


def put_plan_done(repository: Repository, number: int) -> None:
    body = encode_plan_done(PlanDone(number, 2))
    assert repository.create(ObjectKind.PLAN_DONE, names.plan_done(number), body, os.urandom)


def put_generation(
    repository: Repository,
    number: int,
    packs: Sequence[PackInfo],
    absorbed: Sequence[str],
    dropped: Sequence[PackId] = (),
    segments: int = 2,
) -> None:
    """Generation `number`, which holds these packs in so many segments."""
    digests = []
    for n in range(segments):
        body = encode_segment(IndexSegment(tuple(packs[n::segments])))
        digests.append(segment_digest(body))
        repository.create(ObjectKind.INDEX_SEGMENT, names.segment(digests[-1]), body, os.urandom)
    generation = Generation(number, tuple(digests), frozenset(absorbed), frozenset(dropped))
    body = encode_generation(generation)
    assert repository.create(ObjectKind.GENERATION, names.generation(number), body, os.urandom)


def repack(repository: Repository, info: PackInfo) -> PackInfo:
    """Copy the frames of a pack, as they are, into a new one."""
    stored = repository.storage.get(names.pack(info.pack_id))
    body: list[bytes] = [packs.header(info.plane, info.slots, repository.state.messages, repository.key)]
    frames = []
    for frame in info.frames:
        frames.append(replace(frame, offset=sum(map(len, body))))
        body.append(stored[frame.offset :][: frame.stored])
    copy, data = packs.finish(info.plane, info.slots, frames, body, repository.key, os.urandom)
    repository.storage.put(names.pack(copy.pack_id), data)
    return copy


def pack_id_of(name: str) -> PackId:
    pack_id = names.pack_id(name)
    assert pack_id is not None
    return pack_id


def repack_everything(client: Client, number: int) -> None:
    """What a prune does to a reader: every chunk is elsewhere, generation `number` says where, the old places are gone."""
    repository, storage = client.open(), client.storage
    runs, before = listed(storage, names.RUNS), listed(storage, names.PACKS)
    infos = [read_pack(storage.get(name), pack_id_of(name), name, repository.key) for name in before]
    put_generation(repository, number, [repack(repository, info) for info in infos], runs)
    for name in [*runs, *before]:
        storage.delete(name)


# -- in a process of its own


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.engine", *map(str, arguments)]


def run_apart(*arguments: object) -> tuple[str, int]:
    """(result, peak of resident memory in KiB) of one verb in a process of its own."""
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return lines[1].removeprefix("result "), int(lines[2].removeprefix("peak "))


class Starter:
    """A process that starts others, which have their imports behind them; to be killed in the midst of their work.

    `environment`: what they know besides ours; `modules`: what they will need besides this one.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, modules: Sequence[str] = ()) -> None:
        self._environment = environment or {}
        self._modules = modules

    def __enter__(self) -> Starter:
        self._process = subprocess.Popen(
            command("serve", *self._modules),
            cwd=ROOT,
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def start(self, *arguments: object) -> int:
        """The id of a process that has begun to work on one verb."""
        assert self._process.stdin
        self._process.stdin.write("\0".join(map(str, arguments)) + "\n")
        return int(self._said("begin"))

    def wait(self) -> int:
        """How the last one ended: 0, or minus the signal."""
        return int(self._said("ended"))

    def _said(self, what: str) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            first, _, rest = line.strip().partition(" ")
            if first == what:
                return rest
        raise AssertionError(f"the starter is gone and never said {what}")


def _serve(*modules: str) -> None:
    for module in modules:
        importlib.import_module(module)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                _main(*line.strip().split("\0"))
                sys.stdout.flush()
                code = 0
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("\nended", status, flush=True)


def peak_memory() -> int:
    """KiB. Not `ru_maxrss`, which a new process inherits from the one that started it."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def local_client(location: Path, base: Path, workers: int, *, temporary_files: bool = False) -> Client:
    """On a directory; with `temporary_files` on one whose file system has no unnamed ones."""
    ways = {"ways": (by_link,)} if temporary_files else {}
    storage = LocalStorage(location, create=True, durable=False, **ways)  # type: ignore[arg-type]
    return Client(storage, base, workers=workers, random_bytes=os.urandom)


def remote_client(url: str, base: Path, workers: int) -> Client:
    """On S3 or SFTP, with the keys of the environment or of the home directory that it names."""
    ssh = SshOptions(os.environ["HOME"], "nobody", system_files=False)
    storage = open_storage(url, create=True, options=StorageOptions(ssh=ssh), waiting=waiting())
    return Client(storage, base, workers=workers, random_bytes=os.urandom)


def _main(verb: str, location: str, base: str, path: str, workers: str, *options: str) -> None:
    if "://" in location:
        client = remote_client(location, Path(base), int(workers))
    else:
        client = local_client(Path(location), Path(base), int(workers), temporary_files="temporary-files" in options)
    if "default-sizes" in options:
        client = client.but(packs_per_index_object=WriteOptions().packs_per_index_object)
    if "kill-yourself" in options:  # the first time that somebody asks whether to stop, in the midst of the walk
        client = client.but(stop=lambda: os.kill(os.getpid(), signal.SIGKILL) or True)
    print("begin", os.getpid(), flush=True)
    if verb == "snapshot":
        print("result", client.snapshot(Path(path)).id)
    elif verb == "cat":
        print("result", _digest(client, os.fsencode(path)))
    print("peak", peak_memory(), flush=True)


def _digest(client: Client, path: bytes) -> str:
    """SHA-256 of one file of the only snapshot."""
    repository, progress, digest = client.open(), Silent(), hashlib.sha256()
    found = read_record(repository, snapshot_ids(repository.storage)[0])
    assert found is not None
    with reading(repository, open_content(repository, identity), client.around, progress) as read:
        for piece in cat(read.reader, read.manifest(found.record), path, client.workers, progress):
            digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    _serve(*sys.argv[2:]) if sys.argv[1] == "serve" else _main(*sys.argv[1:])
