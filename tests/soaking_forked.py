"""Many processes on one repository for some time: they snapshot trees that change, one forgets and prunes, all are killed.

Each task is a process of its own, forked from one that has its imports behind it, with the library and a storage of its own
inside; SIGKILL ends it anywhere. What a task promises, it writes to a file, at once, after the library said so: `done/ID` for a
snapshot, with a digest of what it holds. What it is about to take away it writes before: `forgotten/ID`. So at the end
every snapshot that is in the first and not in the second must be there and restore to the same.

Sessions count as dead after a moment, so that runs that are alive are fenced all the time; they have to go on by themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chunkstore.errors import ChunkstoreError, Fenced
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.forget.forgetting import forget
from chunkstore.operations.forget.found import find_all
from chunkstore.operations.prune.pruning import examine, prune
from chunkstore.operations.prune.values import PruneOptions, PruneResult
from chunkstore.progress import Silent
from chunkstore.storage import Storage, StorageOptions, open_storage
from tests.engine import KIB, Client, broken_promises, describe, edit_tree, listed, make_tree, waiting
from tests.s3_server import Access

NS = 10**9
_KEPT = 3
"""Snapshots of each writer that are not forgotten."""
_TASK_S = 300
"""A task that takes longer hangs."""


@dataclass(frozen=True)
class SoakOptions:
    """How many writers, for how long, how often something is killed, and when a silent session counts as dead (seconds)."""

    seconds: float
    writers: int = 8
    kill_every_s: float = 1.0
    stale_after_s: float = 3.0
    seed: int = 1
    files: int = 12


@dataclass
class Soaked:
    """What happened: ends of tasks by kind and how, what is wrong, and the longest run of a writer in seconds."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    snapshots: int = 0
    forgotten: int = 0
    longest_s: float = 0.0
    slept_s: float = 0.0
    last: PruneResult | None = None

    def __str__(self) -> str:
        ends = ", ".join(f"{kind} {how}: {count}" for (kind, how), count in sorted(self.ends.items()))
        text = f"{ends}; {self.snapshots} snapshots stay, {self.forgotten} forgotten; "
        text += f"longest snapshot {self.longest_s:.1f} s, slept {self.slept_s:.1f} s"
        return "\n".join([text, *(f"WRONG: {each}" for each in self.wrong)])


class Soak:
    """A repository at a storage, and everything that happens to it. `open_storage` is called in each process."""

    def __init__(self, base: Path, open_storage: Callable[[], Storage], options: SoakOptions) -> None:
        self._base = base
        self._open_storage = open_storage
        self._options = options
        self._dice = random.Random(options.seed)
        self._count = 0
        self.result = Soaked()
        for name in ("done", "forgotten", "ends", "trees"):
            (base / name).mkdir(parents=True)

    # -- the supervisor

    def run(self) -> Soaked:
        """All of it, and the look at what is left."""
        self._client("owner").create("pyfastcdc:256,1K,4K", 8 * KIB, 16 * KIB)
        for slot in range(self._options.writers):
            make_tree(self._tree(slot), seed=slot % 3, files=self._options.files, largest=4 * KIB)
        running: dict[int, str] = {}
        ending = time.monotonic() + self._options.seconds
        kill_at = time.monotonic() + self._options.kill_every_s
        while time.monotonic() < ending:
            self._start_what_is_missing(running)
            self._reap(running)
            if time.monotonic() >= kill_at and running:
                os.kill(self._dice.choice(sorted(running)), signal.SIGKILL)
                kill_at = time.monotonic() + self._dice.expovariate(1 / self._options.kill_every_s)
            time.sleep(0.01)
        while running:
            self._reap(running)
            time.sleep(0.01)
        self._look()
        return self.result

    def _start_what_is_missing(self, running: dict[int, str]) -> None:
        kinds = [*(f"writer{slot}" for slot in range(self._options.writers)), "pruner", "reader"]
        for kind in kinds:
            if kind not in running.values():
                self._count += 1
                running[self._fork(kind, self._count)] = kind

    def _fork(self, kind: str, number: int) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.alarm(_TASK_S)
            self._task(kind, number)
        except BaseException:
            self._note(kind, number, "broken", traceback.format_exc())
        finally:
            os._exit(0)

    def _reap(self, running: dict[int, str]) -> None:
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                kind = running.pop(pid).rstrip("0123456789")
                if os.WIFSIGNALED(status):
                    self.result.ends[kind, signal.Signals(os.WTERMSIG(status)).name] += 1
                    if os.WTERMSIG(status) == signal.SIGALRM:
                        self.result.wrong.append(f"a {kind} took more than {_TASK_S} s")

    # -- tasks, each in a process of its own

    def _task(self, kind: str, number: int) -> None:
        dice = random.Random(f"{self._options.seed} {number}")
        sleeps: list[float] = []
        real_sleep = time.sleep
        time.sleep = lambda seconds: (sleeps.append(seconds), real_sleep(seconds))[1]
        began = time.monotonic()
        try:
            if kind.startswith("writer"):
                self._write(int(kind[6:]), number, dice)
            elif kind == "pruner":
                self._prune(dice)
            else:
                self._read(dice)
            how = "done"
        except Fenced:
            how = "fenced again and again"
        except ChunkstoreError as e:
            self._note(kind, number, f"failed: {type(e).__name__}", str(e))
            return
        self._note(kind, number, how, "", time.monotonic() - began, sum(sleeps))

    def _write(self, slot: int, number: int, dice: random.Random) -> None:
        tree = self._tree(slot)
        edit_tree(tree, number)
        self._keep_small(tree, dice)
        held = digest(tree)
        taken = self._client(f"writer{slot}").snapshot(tree)
        self._say("done", taken.id, held)

    def _keep_small(self, tree: Path, dice: random.Random) -> None:
        every = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
        for path in dice.sample(every, max(0, len(every) - 2 * self._options.files)):
            path.unlink()

    def _prune(self, dice: random.Random) -> None:
        if not any((self._base / "done").iterdir()):  # a prune refuses to delete everything
            time.sleep(0.2)
            return
        client = self._client("pruner")
        repository, stale = client.open("prune"), int(self._options.stale_after_s * NS)
        found = find_all(repository, client.around, Silent(), stale_after_ns=stale)
        said = {path.name for path in (self._base / "done").iterdir()}
        newest = sorted((each for each in found.candidates if each.id in said), key=lambda each: each.order)
        going = [each for each in newest[: -_KEPT * self._options.writers] if dice.random() < 0.7]
        for each in going:
            self._say("forgotten", each.id, "")
        forget(repository, found, going, client.around)
        options = PruneOptions(max_unused=0.0, stale_after_ns=stale)
        prune(repository, options, client.around, Silent(), time.sleep)

    def _read(self, dice: random.Random) -> None:
        said = sorted(path.name for path in (self._base / "done").iterdir())
        if not said:
            time.sleep(0.2)
            return
        snapshot_id = SnapshotId(dice.choice(said))
        if self._is_forgotten(snapshot_id):
            return
        try:
            self._compare(self._client(f"reader-{os.getpid()}"), snapshot_id)
        except (ChunkstoreError, AssertionError):
            if not self._is_forgotten(snapshot_id):
                raise
        finally:
            shutil.rmtree(self._base / f"reader-{os.getpid()}", ignore_errors=True)

    def _compare(self, client: Client, snapshot_id: SnapshotId) -> None:
        held = (self._base / "done" / snapshot_id).read_text()
        target = client.base / "restored"
        restored = client.restore_to(snapshot_id, target)
        assert not restored.problems, restored.problems
        assert digest(target) == held, f"snapshot {snapshot_id} is not what was stored"
        shutil.rmtree(target)

    # -- what they share

    def _tree(self, slot: int) -> Path:
        return self._base / "trees" / f"{slot}"

    def _client(self, name: str) -> Client:
        """A client with a state of its own, a copy of the owner's."""
        base = self._base / name
        client = Client(self._open_storage(), base, clock=time.time_ns, random_bytes=os.urandom)
        if name != "owner" and not client.places.state.exists():
            shutil.copytree(self._base / "owner" / "state", base / ".new")
            os.rename(base / ".new", client.places.state)
        return client

    def _is_forgotten(self, snapshot_id: str) -> bool:
        return (self._base / "forgotten" / snapshot_id).exists()

    def _say(self, what: str, name: str, text: str) -> None:
        path = self._base / what / name
        temporary = self._base / f".{what}-{name}"
        temporary.write_text(text)
        os.rename(temporary, path)

    def _note(self, kind: str, number: int, how: str, text: str = "", seconds: float = 0.0, slept: float = 0.0) -> None:
        entry = {"kind": kind, "how": how, "text": text, "seconds": seconds, "slept": slept}
        self._say("ends", f"{number}", json.dumps(entry))

    # -- afterwards

    def _look(self) -> None:
        """What was said must be true, and after one more prune nothing is there that nobody needs."""
        result = self.result
        for path in (self._base / "ends").iterdir():
            entry = json.loads(path.read_text())
            kind = entry["kind"].rstrip("0123456789")
            result.ends[kind, entry["how"]] += 1
            if entry["how"] not in ("done", "fenced again and again"):
                result.wrong.append(f"{entry['kind']} {entry['how']}: {entry['text']}")
            if kind == "writer":
                result.longest_s = max(result.longest_s, entry["seconds"])
                result.slept_s += entry["slept"]
        said = {path.name for path in (self._base / "done").iterdir()}
        forgotten = {path.name for path in (self._base / "forgotten").iterdir()}
        result.snapshots, result.forgotten = len(said - forgotten), len(forgotten)
        client = self._client("last")
        repository, options = client.open("prune"), PruneOptions(max_unused=0.0, stale_after_ns=0)
        result.last = prune(repository, options, client.around, Silent(), time.sleep)
        for snapshot_id in sorted(said - forgotten):
            try:
                self._compare(client, SnapshotId(snapshot_id))
            except (ChunkstoreError, AssertionError) as e:
                result.wrong.append(f"snapshot {snapshot_id}: {e}")
        result.wrong += broken_promises(client)
        self._look_for_rubbish(client, options)

    def _look_for_rubbish(self, client: Client, options: PruneOptions) -> None:
        repository = client.open("prune")
        found = examine(repository, options, client.around, Silent())
        if found.dead.packs or found.orphans.packs or found.unused or found.open_plan is not None:
            self.result.wrong.append(f"a prune left something: {found}")
        packs = listed(client.storage, names.PACKS)
        if found.stored.packs != len(packs):
            self.result.wrong.append(f"{len(packs)} packs are stored, {found.stored.packs} are known")
        plans = [name for name in listed(client.storage, names.PLANS) if not name.endswith(names.DONE)]
        generations, runs = listed(client.storage, names.GENERATIONS), listed(client.storage, names.RUNS)
        if len(plans) > 1 or len(generations) > 1:
            self.result.wrong.append(f"old plans or generations stay: {plans} {generations}")
        print(
            f"left: {len(packs)} packs, {len(runs)} run indexes, {len(listed(client.storage, names.SEGMENTS))} segments"
        )


def s3_storage(access: Access) -> Callable[[], Storage]:
    """Opens a storage in a bucket, with a client of its own each time: none outlives a fork."""

    def opened() -> Storage:
        for name, value in access.environment.items():
            if value is not None:
                os.environ[name] = value
        return open_storage(f"s3://{access.bucket}/soak", create=True, options=StorageOptions(), waiting=waiting())

    return opened


def digest(tree: Path) -> str:
    """Of all that a restore has to bring back."""
    described = describe(tree)
    described.pop(b".", None)
    return hashlib.sha256(repr(sorted(described.items())).encode()).hexdigest()
