"""Snapshots that are records alone, for tests of what is decided about them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import (
    Amendment,
    SignedRecord,
    SnapshotRecord,
    encode_amendment,
    encode_record,
    record_body,
)
from chunkstore.format.runs import Session, encode_session
from chunkstore.ids import ChunkId, SnapshotId
from chunkstore.operations.catalog import as_committed
from chunkstore.operations.forget.found import Found, find_all
from chunkstore.operations.forget.policy import Candidate, Decision, SessionState
from chunkstore.progress import Silent
from chunkstore.repository.repository import Repository
from chunkstore.storage import MemoryStorage
from tests.engine import Client

NS = 10**9
HOUR, DAY = 3600 * NS, 86400 * NS

_numbers = itertools.count(1)


def at(text: str) -> int:
    """`2026-07-27 10:00`, UTC, in ns."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


def utc(instant: datetime) -> datetime:
    """The wall of somebody in Reykjavik."""
    return instant.astimezone(UTC)


def record(time: int, **changes: Any) -> SnapshotRecord:
    """A record of a run of a second, with a new id."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "id": SnapshotId(f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"),
        "time": time,
        "end": time + NS,
        "host": "host",
        "user": "user",
        "roots": (b"/home",),
        "tags": (),
        "description": "",
        "content_root": ChunkId(b"c" * 32),
        "reference_root": ChunkId(b"r" * 32),
        "client": b"c" * 16,
        "sequence": number,
        "previous": b"",
        "generation": 0,
        "partial": False,
        "errors": 0,
        "statistics": {"files": 1},
        **changes,
    }
    return SnapshotRecord(**fields)


def candidate(
    time: int,
    *,
    stored: float | None = None,
    session: SessionState = SessionState.OVER,
    pinned: bool = False,
    **changes: Any,
) -> Candidate:
    """One whose date the storage confirms, unless `stored` (s) says otherwise."""
    made = record(time, **changes)
    snapshot = as_committed(SignedRecord(made, b"", None))
    return Candidate(replace(snapshot, pinned=pinned), made.end / NS if stored is None else stored, session)


def staying(decisions: Iterable[Decision]) -> list[Candidate]:
    return [each.candidate for each in decisions if each.stays]


def why(decisions: Sequence[Decision]) -> list[str]:
    """The reasons for each, oldest first; of what goes in parentheses."""
    texts = [", ".join(reason.text for reason in each.reasons) for each in decisions]
    return [text if each.stays else f"({text})" for text, each in zip(texts, decisions, strict=True)]


# -- in a repository


def put_record(repository: Repository, time: int, **changes: Any) -> SnapshotId:
    """Store a record; where the storage is in memory and has a clock, at its end."""
    made = record(time, **changes)
    storage = repository.storage
    if isinstance(storage, MemoryStorage) and storage.clock is not None:
        storage.clock = lambda: made.end / NS
    body = encode_record(record_body(made), None)
    assert repository.create(ObjectKind.SNAPSHOT, names.snapshot(made.id), body, os.urandom)
    return made.id


def put_amendment(repository: Repository, snapshot: SnapshotId, **changes: Any) -> str:
    """The name of an amendment."""
    name = names.amendment(os.urandom(16).hex())
    body = encode_amendment(Amendment(snapshot, next(_numbers), **changes))
    assert repository.create(ObjectKind.AMENDMENT, name, body, os.urandom)
    return name


def put_session(repository: Repository, snapshot: SnapshotId, beat: int) -> None:
    """The object of a session that was alive at `beat` (ns)."""
    storage, name = repository.storage, names.session(snapshot)
    if isinstance(storage, MemoryStorage) and storage.clock is not None:
        storage.clock = lambda: beat / NS
    body = encode_session(Session(snapshot, b"c" * 16, "host", beat, beat))
    storage.put(name, repository.seal(ObjectKind.SESSION, name, body, os.urandom))


def find(client: Client) -> Found:
    """What is there, with nothing to complain about."""
    progress = Silent()
    found = find_all(client.open("prune"), client.around, progress)
    assert not progress.warnings
    return found
