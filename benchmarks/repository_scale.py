"""What forgetting, pruning, checking and syncing cost on a repository with very many chunks and snapshots: time and peak memory.

    python benchmarks/repository_scale.py [--chunks 20000000] [--snapshots 10000] [--work DIR] [--keep]

The repository is made by the real encoders, but no content is stored: packs of content are holes of the right length with
real rows in the index; manifests, references and records are real. One snapshot references `--chunks` chunks of 64 KiB in files
of twenty; the others are a small tree of which one file changes each time. A twentieth of the packs is in use nowhere. Each
step runs in a process of its own, on a local directory, with the real code; gpg is not involved. Printed are seconds, CPU seconds
and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import machine

from chunkstore.chunking import parse_chunker
from chunkstore.format import names
from chunkstore.format.config import RecipientEntry
from chunkstore.format.entries import FILE, Entry
from chunkstore.format.index import RunIndex, encode_run_index
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import Frame, PackInfo, Slot, SlotType
from chunkstore.format.records import SnapshotRecord
from chunkstore.ids import ID_SIZE, ChunkId, PackId, new_snapshot_id
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.check.checking import check
from chunkstore.operations.check.findings import Finding
from chunkstore.operations.forget.found import find_all
from chunkstore.operations.forget.plan import Limits, plan_by_rules
from chunkstore.operations.forget.policy import Policy
from chunkstore.operations.init import InitOptions, init
from chunkstore.operations.prune.pruning import examine, prune
from chunkstore.operations.prune.values import PruneOptions
from chunkstore.operations.statistics import Statistics
from chunkstore.progress import Silent
from chunkstore.repository.chunk_writer import ChunkWriter, WriteOptions
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.manifest_writer import ManifestWriter, Roots
from chunkstore.repository.places import Places
from chunkstore.repository.repository import Repository, Surroundings, open_repository
from chunkstore.repository.session import WriteSession
from chunkstore.storage import LocalStorage

CHUNK = 64 << 10
STORED = 40 << 10
IN_FRAME = 16
FRAMES = 24
IN_FILE = 20
UNUSED = 20
"""One pack of so many is in use nowhere."""
DAY_NS = 24 * 3600 * 10**9
START = 1_700_000_000 * 10**9


class World:
    """The repository below `work`, and a client of it."""

    def __init__(self, work: Path, client: str = "client") -> None:
        self.storage = LocalStorage(work / "repository", create=True, durable=False)
        self.now = START
        places = Places(work / client / "state", work / client / "cache")
        self.around = Surroundings(self._clock, os.urandom, places, "host", "user", "benchmark", 2)

    def _clock(self) -> int:
        self.now += 1000
        return self.now

    def create(self) -> None:
        recipient = RecipientEntry("A" * 40, "B" * 40, "Test <test@example.org>", b"public key")
        init(self.storage, [recipient], lambda message: message, InitOptions(parse_chunker("pyfastcdc")), self.around)

    def open(self, operation: str) -> Repository:
        return open_repository(self.storage, self.around.places, operation)


class NoLog:
    """Keeps no last manifest."""

    def ids(self, ids: bytes) -> None:
        pass

    def segment(self, ref: object, data: bytes) -> None:
        pass


def fill(world: World, chunks: int, snapshots: int) -> None:
    """Make everything."""
    world.create()
    repository = world.open("write")
    ids = content(repository, chunks)
    with contextlib.closing(open_local_index(world.around.places, repository.key.repository_id)) as index:
        large = b"".join(ids)
        commit(
            world,
            repository,
            index,
            [
                (f"file-{n:08d}".encode(), large[at : at + IN_FILE * ID_SIZE])
                for n, at in enumerate(range(0, len(large), IN_FILE * ID_SIZE))
            ],
            0,
        )
        small = [(f"small-{n:04d}".encode(), large[n * ID_SIZE : (n + 1) * ID_SIZE]) for n in range(500)]
        dice = random.Random(1)
        for number in range(1, snapshots):
            at = dice.randrange(len(ids))
            small[dice.randrange(len(small))] = (small[0][0], ids[at])
            names_ = [f"small-{n:04d}".encode() for n in range(500)]
            small = [(name, data) for name, (_, data) in zip(names_, small, strict=True)]
            commit(world, repository, index, small, number)


def content(repository: Repository, chunks: int) -> list[bytes]:
    """Rows of the index for packs that are holes; returns the ids that snapshots will reference."""
    used: list[bytes] = []
    slot = Slot(SlotType.DATA_KEY, bytes(16), bytes(16), bytes(80))
    packs: list[PackInfo] = []
    session, number, count = new_snapshot_id(os.urandom), 0, 0
    per_pack = IN_FRAME * FRAMES
    while len(used) < chunks:
        data = os.urandom(per_pack * ID_SIZE)
        every = [ChunkId(data[at : at + ID_SIZE]) for at in range(0, len(data), ID_SIZE)]
        frames = tuple(
            Frame(
                ChunkKind.CONTENT,
                0,
                4096 + n * IN_FRAME * STORED,
                IN_FRAME * STORED,
                IN_FRAME * CHUNK,
                every[n * IN_FRAME : (n + 1) * IN_FRAME],
                [CHUNK] * IN_FRAME,
            )
            for n in range(FRAMES)
        )
        info = PackInfo(
            PackId(os.urandom(32)), ObjectKind.CONTENT_PACK, 4096 + FRAMES * IN_FRAME * STORED + 65536, (slot,), frames
        )
        hole(repository, info)
        packs.append(info)
        count += 1
        if count % UNUSED:
            used += every
        if len(packs) >= 120 or len(used) >= chunks:
            name = names.run_index(session, number)
            body = encode_run_index(RunIndex(session, tuple(packs)))
            repository.storage.put(name, repository.seal(ObjectKind.RUN_INDEX, name, body, os.urandom))
            number, packs = number + 1, []
    return used[:chunks]


def hole(repository: Repository, info: PackInfo) -> None:
    """A file of the right name and length that takes no room."""
    path = Path(repository.storage.location.removeprefix("file://")) / names.pack(info.pack_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(info.size)


def commit(world: World, repository: Repository, index: object, files: list[tuple[bytes, bytes]], number: int) -> None:
    """A snapshot of these files: names and ids of chunks."""
    world.now = START + number * DAY_NS
    session = WriteSession(repository, index, world.around, Silent())  # type: ignore[arg-type]
    with ChunkWriter(repository, index, session.id, os.urandom, 8 << 20, WriteOptions(workers=0)) as writer:  # type: ignore[arg-type]
        manifest = ManifestWriter(writer, repository.key.segment_cut_key, NoLog())  # type: ignore[arg-type]
        for name, ids in files:
            manifest.add_ids(ids)
            manifest.add(b"/data", _entry(name, ids))
        roots = manifest.finish()
        writer.flush()
    session.commit(record(world, session, roots, number), None)
    session.end()


def _entry(name: bytes, ids: bytes) -> Entry:
    count = len(ids) // ID_SIZE
    return Entry(name, FILE, 0o644, 0, 0, 1, 1, 1, CHUNK * count, count, None)


def record(world: World, session: WriteSession, roots: Roots, number: int) -> SnapshotRecord:
    return SnapshotRecord(
        session.id, world.now, world.now, "host", "user", (b"/data",), (), "", roots.content, roots.reference,
        bytes(16), number, b"", session.generation, False, 0, Statistics().as_record(), "benchmark",
    )  # fmt: skip


# -- steps, each in a process of its own


def step_sync(world: World) -> str:
    repository = world.open("read")
    with contextlib.closing(open_local_index(world.around.places, repository.key.repository_id)) as index:
        sync_index(repository, index, Silent())
        return f"{index.chunk_count():,} chunks"


def step_forget(world: World) -> str:
    world.now = START + 20_000 * DAY_NS
    found = find_all(world.open("prune"), world.around, Silent(), 3600 * 10**9)
    policy = Policy(daily=30, weekly=8, monthly=24)
    plan = plan_by_rules(
        found.candidates, found.candidates, policy, frozenset({"host", "paths"}), datetime.astimezone, Limits(), []
    )
    return f"{len(found.candidates):,} snapshots, {len(plan.going):,} would go"


def step_examine(world: World) -> str:
    found = examine(world.open("prune"), PruneOptions(), world.around, Silent())
    return f"{found.stored.packs:,} packs, {found.dead.packs:,} dead, {found.repack.packs:,} to repack"


def step_prune(world: World) -> str:
    options = PruneOptions(max_unused=1.0)  # content is holes: nothing of it can be repacked
    done = prune(world.open("prune"), options, world.around, Silent(), time.sleep)
    return f"deleted {done.deleted.packs:,} packs, {done.index_objects_deleted:,} index objects"


def step_check(world: World) -> str:
    findings: list[Finding] = []
    done = check(world.open("check"), world.around, Silent(), findings.append)
    return f"{done.chunks:,} chunks needed, {done.damaged:,} damaged objects, {done.hit:,} snapshots hit"


STEPS: dict[str, Callable[[World], str]] = {
    "check": step_check,
    "sync": step_sync,
    "forget": step_forget,
    "examine": step_examine,
    "prune": step_prune,
}
PLAN = (
    ("index sync, new client", "sync", "fresh"),
    ("forget, rules only", "forget", "client"),
    ("prune --dry-run", "examine", "client"),
    ("check", "check", "client"),
    ("prune", "prune", "client"),
    ("index sync after it, new client", "sync", "fresh-again"),
    ("prune --dry-run after it", "examine", "client"),
)


def peak_kib() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def run_step(work: Path, step: str, client: str) -> None:
    began, said = time.monotonic(), STEPS[step](World(work, client))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - began,
                "cpu": used.ru_utime + used.ru_stime,
                "peak": peak_kib(),
                "said": said,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=20_000_000)
    parser.add_argument("--snapshots", type=int, default=10_000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the repository there, and use one that is there")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "CLIENT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        run_step(arguments.work, *arguments.step)
        return
    work = arguments.work or Path(tempfile.mkdtemp(prefix="chunkstore-scale-"))
    try:
        measure(work, arguments.chunks, arguments.snapshots)
    finally:
        if not arguments.keep:
            shutil.rmtree(work, ignore_errors=True)


def measure(work: Path, chunks: int, snapshots: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    print("; ".join(f"{name}: {value}" for name, value in machine.facts(work).items()))
    if not (work / "made").exists():
        began = time.monotonic()
        fill(World(work), chunks, snapshots)
        (work / "made").touch()
        print(f"made in {time.monotonic() - began:.0f} s")
    print(
        f"\n{chunks:,} chunks, {snapshots:,} snapshots\n\n| step | s | CPU s | peak MiB | |\n|---|---|---|---|---|",
        flush=True,
    )
    for title, step, client in PLAN:
        if client != "client" and not (work / client).exists():
            shutil.copytree(work / "client" / "state", work / client / "state")
        command = [sys.executable, __file__, "--work", str(work), "--step", step, client]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            raise SystemExit(f"{title} failed")
        found = json.loads(done.stdout)
        print(
            f"| {title} | {found['seconds']:.1f} | {found['cpu']:.1f} | {found['peak'] / 1024:.0f} | {found['said']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
