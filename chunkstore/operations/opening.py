"""Finding snapshots, and opening the content plane with the private key."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chunkstore.errors import Damaged, NoUsableKey, ObjectMissing, SnapshotNotFound, UnsupportedFormat
from chunkstore.format import names, sealed_keys
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import SignedRecord, decode_record
from chunkstore.format.sealed_keys import SealedKey
from chunkstore.ids import RepositoryId, SnapshotId, is_snapshot_id
from chunkstore.keys.opening import Opener, ReadingKey
from chunkstore.keys.sealing import reading_key_id
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository
from chunkstore.storage import Storage

Unseal = Callable[[bytes], bytes]


def newest_key_object(storage: Storage, key_id: bytes, repository_id: RepositoryId) -> SealedKey:
    """The newest sealing of this key. `Damaged` when there is none that is whole."""
    prefix = f"{names.KEYS}{key_id.hex()}."
    damage: Damaged | UnsupportedFormat = Damaged("a sealed key is missing", prefix)
    for name in sorted((info.name for info in storage.list(prefix)), reverse=True):
        try:
            sealed = sealed_keys.decode(storage.get(name), name, repository_id)
        except (Damaged, UnsupportedFormat, ObjectMissing) as e:
            damage = damage if isinstance(e, ObjectMissing) else e
            continue
        if sealed.key_id == key_id:
            return sealed
    raise damage


def open_content(repository: Repository, unseal: Unseal) -> Opener:
    """The opener of all reading keys of the repository; one private-key operation for each.

    Raises `NoUsableKey`, with the keys that would open it.
    """
    key = repository.key
    reading_keys = []
    try:
        for public in key.reading_keys:
            reading_keys.append(_open_reading_key(repository, reading_key_id(public), unseal))
    except NoUsableKey as e:
        raise NoUsableKey(f"{e}\n{who_can_read(repository)}") from e
    return Opener(reading_keys, key.repository_id)


def who_can_read(repository: Repository) -> str:
    """The recipients, for messages."""
    lines = [f"  {each.fingerprint}  {each.user_id}" for each in repository.state.recipients.entries]
    return "The repository opens with the private key of any of:\n" + "\n".join(lines)


def _open_reading_key(repository: Repository, key_id: bytes, unseal: Unseal) -> ReadingKey:
    """From the repository; where its copy is missing, damaged or for others, from the one kept on this machine."""
    repository_id = repository.key.repository_id
    newest = reading_key_id(repository.key.reading_keys[-1])
    kept = repository.state.messages.reading_key if key_id == newest else None
    try:
        stored = newest_key_object(repository.storage, key_id, repository_id).message
    except Damaged:
        if kept is None:
            raise
        stored = kept
    try:
        plaintext = unseal(stored)
    except (NoUsableKey, Damaged):
        if kept is None or kept == stored:
            raise
        plaintext = unseal(kept)
    return sealed_keys.read_reading_key(plaintext, repository_id, key_id)


def records(repository: Repository, progress: Progress) -> Iterator[SignedRecord]:
    """All snapshots, in no particular order; what is not authentic is reported and left out."""
    for info in repository.storage.list(names.SNAPSHOTS):
        snapshot_id = info.name[len(names.SNAPSHOTS) :]
        if not is_snapshot_id(snapshot_id):
            progress.warn(f"left out, not a snapshot: {info.name}")
            continue
        try:
            found = read_record(repository, SnapshotId(snapshot_id))
        except (Damaged, UnsupportedFormat) as e:
            progress.warn(f"snapshot left out: {e}")
            continue
        except ObjectMissing:  # forgotten since the listing
            continue
        if found is not None:
            yield found


def read_record(repository: Repository, snapshot_id: SnapshotId) -> SignedRecord | None:
    """The snapshot of this id; None when a tombstone stands there."""
    name = names.snapshot(snapshot_id)
    kind, body = repository.read(name, ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE)
    if kind == ObjectKind.TOMBSTONE:
        return None
    try:
        return decode_record(body, snapshot_id)
    except Damaged as e:
        raise Damaged(e.reason, name) from e


def find_snapshot(repository: Repository, which: str, progress: Progress) -> SignedRecord:
    """`latest`, or the snapshot whose id starts with `which`. `SnapshotNotFound` with what there is instead."""
    if which == "latest":
        latest = max(records(repository, progress), key=lambda found: found.record.time, default=None)
        if latest is None:
            raise SnapshotNotFound("the repository has no snapshot yet. Make one with `chunkstore snapshot PATH`")
        return latest
    prefix = which.lower()
    if len(prefix) < 4 or any(c not in "0123456789abcdef" for c in prefix):
        raise SnapshotNotFound(
            f"{which!r} is no snapshot: give `latest`, or at least 4 digits of an id that `chunkstore snapshots` shows"
        )
    found = [each for each in _by_prefix(repository, prefix) if each is not None]
    if len(found) == 1:
        return found[0]
    if found:
        raise SnapshotNotFound(f"{which!r} fits {len(found)} snapshots; give more digits of the id")
    raise SnapshotNotFound(f"no snapshot has an id that starts with {which!r}; `chunkstore snapshots` lists them")


def _by_prefix(repository: Repository, prefix: str) -> Iterator[SignedRecord | None]:
    for info in repository.storage.list(names.SNAPSHOTS + prefix):
        snapshot_id = info.name[len(names.SNAPSHOTS) :]
        if is_snapshot_id(snapshot_id):
            yield read_record(repository, SnapshotId(snapshot_id))
