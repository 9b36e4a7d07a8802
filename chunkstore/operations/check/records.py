"""Snapshot records, tombstones and amendments; and whether the records of each client follow from each other.

A client numbers its records and names the digest of the one before. A number that is not there says nothing: the snapshot was
forgotten, or somebody took it away. Two records with one number, or one that does not follow from the one before, were not
made by one client that kept its state: so it was restored from an old copy, its machine was cloned, or a record was forged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import SnapshotRecord, decode_amendment, decode_record, decode_tombstone
from chunkstore.ids import SnapshotId
from chunkstore.operations.check.findings import Finding, Kind, Severity, damage, note
from chunkstore.operations.check.looking import Looking
from chunkstore.storage import ObjectInfo


@dataclass(frozen=True, slots=True)
class Known:
    """A record, without what takes much room in it, and its digest."""

    record: SnapshotRecord
    digest: bytes


def read_records(looking: Looking) -> list[Known]:
    """All records, from the storage itself; what can not be read is reported."""
    found = looking.readable(
        names.SNAPSHOTS, Kind.SNAPSHOT, lambda info, data: _read(looking, info, data), _unreadable_record
    )
    return [known for _, known in found if known is not None]


def _read(looking: Looking, info: ObjectInfo, data: bytes) -> Known | None:
    """None for a tombstone."""
    snapshot_id = SnapshotId(info.name[len(names.SNAPSHOTS) :])
    kind, body = looking.body(info, data, ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE)
    if kind == ObjectKind.TOMBSTONE:
        decode_tombstone(body, snapshot_id)
        return None
    signed = decode_record(body, snapshot_id)
    return Known(replace(signed.record, statistics={}, tags=(), description=""), signed.digest)


def _unreadable_record(name: str, why: str) -> Finding:
    return damage(Kind.SNAPSHOT, name, why, (SnapshotId(name[len(names.SNAPSHOTS) :]),))


def check_unlisted(looking: Looking) -> None:
    """Records that this machine saw once and the storage has, but does not list."""
    cache = looking.repository.records
    cached = set(cache.names(names.SNAPSHOTS)) if cache else set[str]()
    if not cached:
        return
    for info in looking.repository.storage.list(names.SNAPSHOTS):
        cached.discard(info.name)
    for name in sorted(cached):
        if looking.is_there(name) and not looking.is_listed(name):
            looking.report(unlisted(Kind.SNAPSHOT, name))


def unlisted(kind: Kind, name: str) -> Finding:
    """The finding for what is there and not listed."""
    remedy = "find out why: as long as it is so, snapshots are overlooked, and no prune is safe"
    return Finding(Severity.DAMAGE, kind, name, "the storage has it and does not list it", remedy)


def check_amendments(looking: Looking, known: Iterable[Known]) -> None:
    """All amendments; those of snapshots that are not there mean nothing."""
    snapshots = {each.record.id for each in known}

    def read(info: ObjectInfo, data: bytes) -> SnapshotId:
        return decode_amendment(looking.body(info, data, ObjectKind.AMENDMENT)[1]).snapshot

    for info, snapshot in looking.readable(names.AMENDMENTS, Kind.AMENDMENT, read):
        if snapshot not in snapshots and not looking.is_there(names.snapshot(snapshot)):
            looking.report(note(Kind.AMENDMENT, info.name, f"is about snapshot {snapshot[:8]}, which is not there"))


def check_chains(looking: Looking, known: Iterable[Known]) -> None:
    """What the numbers and digests of records say."""
    state = looking.repository.state
    clients: dict[bytes, dict[int, list[Known]]] = {state.client: {}}
    for each in known:
        clients.setdefault(each.record.client, {}).setdefault(each.record.sequence, []).append(each)
    for chain in clients.values():
        for finding in _chain_findings(chain):
            looking.report(finding)
    own = clients[state.client]
    if state.sequence and not any(each.digest == state.previous for each in own.get(state.sequence - 1, ())):
        text = f"the newest snapshot of this machine, number {state.sequence - 1}, is not there: was it forgotten?"
        looking.report(note(Kind.CHAIN, "", text))


def _chain_findings(chain: dict[int, list[Known]]) -> Iterator[Finding]:
    remedy = (
        "if the state of that machine was restored from an old copy, or the machine was cloned, this is no surprise; "
        "else somebody who has its keys made one of them"
    )
    for sequence, these in sorted(chain.items()):
        ids = tuple(each.record.id for each in these)
        if len(these) > 1:
            text = f"{len(these)} snapshots of host {these[0].record.host!r} have the number {sequence}"
            yield Finding(Severity.NOTE, Kind.CHAIN, names.snapshot(ids[0]), text, remedy, ids)
        before = {each.digest for each in chain.get(sequence - 1, ())}
        for each in these:
            if before and each.record.previous not in before:
                text = f"does not follow from number {sequence - 1} of the same client, which is there"
                yield Finding(
                    Severity.NOTE, Kind.CHAIN, names.snapshot(each.record.id), text, remedy, (each.record.id,)
                )
