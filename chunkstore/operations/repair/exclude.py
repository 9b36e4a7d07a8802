"""Give up an object that can not be read and that others wait for. What was there is handed back, to be kept somewhere.

| object | what takes its place |
|---|---|
| snapshot record or tombstone | a tombstone: the id stays used up, whatever its writer still tries |
| amendment, mark of a finished prune | nothing |
| newest prune plan | the same plan, done, with a generation that keeps everything: who still knows the plan finds that it has been decided |
| plan with a number that none can have | nothing |
"""

from __future__ import annotations

from chunkstore.errors import Damaged, InvalidArgument, ObjectMissing, UnsupportedFormat
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import (
    Tombstone,
    decode_amendment,
    decode_record,
    decode_tombstone,
    encode_tombstone,
    stored_time,
)
from chunkstore.format.runs import decode_plan, decode_plan_done
from chunkstore.ids import SnapshotId, is_snapshot_id
from chunkstore.operations.prune.generation import drop_impossible
from chunkstore.operations.prune.pruning import give_up_plan
from chunkstore.progress import Progress
from chunkstore.repository.repository import Repository, Surroundings

_TRIES = 1000


def excluded_content(repository: Repository, name: str) -> bytes:
    """The bytes of an object that may be excluded: it is of a kind that can be, and can not be read.

    `InvalidArgument` for every other one, `ObjectMissing`.
    """
    _refuse_kind(name)
    data = repository.storage.get(name)
    try:
        _read(repository, name)
    except (Damaged, UnsupportedFormat):
        return data
    raise InvalidArgument(
        f"{name} is not damaged. A snapshot that is not wanted any more is removed by `chunkstore forget`"
    )


def exclude(repository: Repository, name: str, around: Surroundings, progress: Progress) -> None:
    """Take the object away; call `excluded_content` first, and keep what it returns."""
    if name.startswith(names.SNAPSHOTS):
        snapshot = SnapshotId(name[len(names.SNAPSHOTS) :])
        body = encode_tombstone(Tombstone(snapshot, stored_time(around.clock())))
        size = repository.storage.stat(name).size
        for _ in range(_TRIES):
            # Copies on other machines are known by name and length: it must not have the length of the record.
            data = repository.seal(ObjectKind.TOMBSTONE, name, body, around.random_bytes)
            if len(data) != size:
                break
        repository.storage.put(name, data)
    elif (number := names.number(name, names.PLANS)) is not None:
        drop_impossible(repository, progress)
        give_up_plan(repository, number, around, progress)
    else:
        repository.storage.delete(name)


def _refuse_kind(name: str) -> None:
    if name.startswith("index/"):
        raise InvalidArgument(f"{name} is a part of the index: `chunkstore repair index` makes a new one without it")
    if name.startswith(names.SESSIONS):
        raise InvalidArgument(
            f"{name}: a session need not be readable; `chunkstore prune` ends it when it is old enough"
        )
    snapshot = name.startswith(names.SNAPSHOTS) and is_snapshot_id(name[len(names.SNAPSHOTS) :])
    amendment = name.startswith(names.AMENDMENTS) and is_snapshot_id(name[len(names.AMENDMENTS) :])
    plan = names.number(name.removesuffix(names.DONE), names.PLANS) is not None
    if not (snapshot or amendment or plan):
        raise InvalidArgument(
            f"{name}: only snapshots, amendments and prune plans can be excluded. A damaged pack goes with the snapshots that "
            "need it: `chunkstore check` names them"
        )


def _read(repository: Repository, name: str) -> None:
    """Raises what a reader of the object would."""
    kind, body = repository.read(name, *_kinds(name))
    match kind:
        case ObjectKind.SNAPSHOT:
            decode_record(body, SnapshotId(name[len(names.SNAPSHOTS) :]))
        case ObjectKind.TOMBSTONE:
            decode_tombstone(body, SnapshotId(name[len(names.SNAPSHOTS) :]))
        case ObjectKind.AMENDMENT:
            decode_amendment(body)
        case ObjectKind.PLAN:
            decode_plan(body, _number(name))
        case _:
            decode_plan_done(body, _number(name))


def _kinds(name: str) -> tuple[ObjectKind, ...]:
    if name.startswith(names.SNAPSHOTS):
        return ObjectKind.SNAPSHOT, ObjectKind.TOMBSTONE
    if name.startswith(names.AMENDMENTS):
        return (ObjectKind.AMENDMENT,)
    return (ObjectKind.PLAN_DONE,) if name.endswith(names.DONE) else (ObjectKind.PLAN,)


def _number(name: str) -> int:
    number = names.number(name.removesuffix(names.DONE), names.PLANS)
    if number is None:
        raise ObjectMissing(name)
    return number
