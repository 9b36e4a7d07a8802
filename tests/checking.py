"""A repository with an object of every kind, and ways to damage and to check it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from chunkstore.format import names
from chunkstore.format.config import body_digest, encode_config
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.runs import Session, encode_session
from chunkstore.ids import ChunkId, PackId, SnapshotId
from chunkstore.operations.catalog import as_committed, read_record
from chunkstore.operations.check.checking import check
from chunkstore.operations.check.findings import Finding, Severity
from chunkstore.operations.check.open import content_keys
from chunkstore.operations.check.values import Checked, Subset
from chunkstore.operations.tagging import Change, amend
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.places import load_state, save_state
from chunkstore.storage import MemoryStorage, Storage
from tests.engine import (
    KIB,
    Client,
    clone,
    edit_tree,
    identity,
    indexed_packs,
    listed,
    make_tree,
    pack_id_of,
    put_generation,
    put_plan,
    put_plan_done,
    put_tombstone,
    referenced,
    snapshot_ids,
    temporary_directory,
)

DEAD = SnapshotId("d" * 32)
RUNNING = SnapshotId("e" * 32)


@dataclass
class Report:
    """What a check said."""

    done: Checked = field(default_factory=Checked)
    findings: list[Finding] = field(default_factory=list)

    def of(self, severity: Severity) -> list[Finding]:
        return [each for each in self.findings if each.severity is severity]

    @property
    def damage(self) -> list[Finding]:
        return self.of(Severity.DAMAGE)

    def about(self, name: str) -> Finding:
        """The one finding about an object."""
        (found,) = [each for each in self.findings if each.object == name]
        return found


def checked(client: Client, subset: Subset | None = None, *, opened: bool = False) -> Report:
    """Check, as this client."""
    report = Report()
    repository = client.open("check")
    keys = content_keys(repository, identity) if opened else None
    report.done = check(repository, client.around, Silent(), report.findings.append, subset, keys)
    assert report.done.damaged == len(report.damage)
    assert report.done.notes == len(report.of(Severity.NOTE))
    assert report.done.foreign == len(report.of(Severity.FOREIGN))
    return report


def another_client(client: Client, base: Path) -> Client:
    """Another machine that has joined."""
    other = client.copy(base).without_cache()
    repository_id = other.open().key.repository_id
    state = load_state(other.places, repository_id)
    save_state(other.places, replace(state, client=os.urandom(16), sequence=0, previous=b""))
    return other


def put_session(client: Client, session_id: SnapshotId, beat: int) -> None:
    repository = client.open("write")
    name = names.session(session_id)
    body = encode_session(Session(session_id, b"c" * 16, "elsewhere", beat, beat))
    client.storage.put(name, repository.seal(ObjectKind.SESSION, name, body, os.urandom))


def put_config(client: Client) -> None:
    """A further link of the chain."""
    repository = client.open("write")
    config = repository.config
    following = replace(config, number=config.number + 1, previous=body_digest(encode_config(config)))
    body = encode_config(following)
    assert repository.create(ObjectKind.CONFIG, names.config(following.number), body, os.urandom)


@dataclass(frozen=True)
class World:
    """Two clients of a repository in memory, which holds an object of every kind."""

    client: Client
    other: Client
    needs: dict[SnapshotId, set[ChunkId]]
    places: dict[ChunkId, set[PackId]]

    @property
    def storage(self) -> Storage:
        return self.client.storage

    def names(self, prefix: str = "") -> list[str]:
        return listed(self.storage, prefix)

    def hit_by(self, lost: set[PackId]) -> set[SnapshotId]:
        """The snapshots that need a chunk which is in none but these packs."""
        gone = {chunk_id for chunk_id, packs in self.places.items() if packs <= lost}
        return {each for each, needed in self.needs.items() if needed & gone}

    @contextmanager
    def damaged(self) -> Iterator[Client]:
        """A copy of the first client and of the repository, to do harm to."""
        with temporary_directory() as base:
            yield self.client.copy(base / "it").but(storage=clone(self.storage))


def make_world(base: Path) -> World:
    """Three snapshots of one client and one of another; a generation, and a run since then; plans, a session and the rest."""
    client = Client(MemoryStorage(), base / "client")
    client.create(pack_size=8 * KIB)
    first, second = base / "first", base / "second"
    make_tree(first, 1)
    make_tree(second, 2, files=9)
    client.snapshot(first)
    edit_tree(first, 3)
    taken = client.snapshot(first)
    repository = client.open("write")
    runs = listed(client.storage, names.RUNS)
    put_generation(repository, 1, indexed_packs(repository), runs)
    for name in runs:
        client.storage.delete(name)
    other = another_client(client, base / "other")
    other.snapshot(second)
    edit_tree(first, 4)
    client.snapshot(first)
    signed = read_record(repository, taken.id)
    assert signed is not None
    amend(repository, as_committed(signed), Change(add=("later",)), client.around)
    put_tombstone(repository, DEAD)
    put_plan(repository, 1, [])
    put_plan_done(repository, 1)
    put_plan(repository, 2, [pack_id_of(listed(client.storage, names.PACKS)[0])], 1)
    put_session(client, RUNNING, client.clock())
    put_config(client)
    return World(client, other, *_truth(client))


def _truth(client: Client) -> tuple[dict[SnapshotId, set[ChunkId]], dict[ChunkId, set[PackId]]]:
    """What each snapshot needs, and in which packs each chunk is."""
    repository, index = client.open(), client.index()
    sync_index(repository, index, Silent())
    reader = ChunkReader(repository, index, LedgerKeys(repository.key))
    needs = {}
    for snapshot_id in snapshot_ids(client.storage):
        found = read_record(repository, snapshot_id)
        if found is not None:
            needs[snapshot_id] = referenced(reader, found.record)
    places: dict[ChunkId, set[PackId]] = {}
    for chunk_id in set().union(*needs.values()):
        for place in index.places(chunk_id):
            frame = index.frame(place.frame)
            assert frame is not None
            places.setdefault(chunk_id, set()).add(frame.pack_id)
    index.close()
    return needs, places


def garbage(size: int) -> bytes:
    return random.Random(size).randbytes(size)
