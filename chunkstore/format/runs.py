"""Sessions of writers and plans of pruners. Ledger objects; bodies are msgpack maps.

| object | fields |
|---|---|
| session `sessions/<id>` | `id`, `client` (16 bytes), `host`, `started`, `beat` (ns since 1970: the only field that a heartbeat changes) |
| plan `prunes/<n>` | `number`, `time`, `dead`, `repack`, `orphans` (pack ids), `open_generation` (the newest when it was made) |
| mark `prunes/<n>.done` | `number`, `time` |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from chunkstore.errors import Damaged
from chunkstore.format.records import CLIENT_ID_SIZE
from chunkstore.format.wire import Fields, field, fixed_bytes, items, natural, pack, unpack_fields
from chunkstore.ids import ID_SIZE, PackId, SnapshotId


@dataclass(frozen=True, slots=True)
class Session:
    """A run that is under way; it will commit as the snapshot of the same id."""

    id: SnapshotId
    client: bytes
    host: str
    started: int
    beat: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prune intends to delete; condemned for writers while it is open."""

    number: int
    time: int
    dead: frozenset[PackId]
    repack: frozenset[PackId]
    orphans: frozenset[PackId]
    open_generation: int

    @property
    def condemned(self) -> frozenset[PackId]:
        """Every pack that no other session's chunks may be relied on in."""
        return self.dead | self.repack | self.orphans


@dataclass(frozen=True, slots=True)
class PlanDone:
    """The plan of this number is carried out and condemns nothing any more."""

    number: int
    time: int


def encode_session(session: Session) -> bytes:
    return pack(asdict(session))


def decode_session(data: bytes, session_id: SnapshotId) -> Session:
    fields = unpack_fields(data)
    if field(fields, "id", str) != session_id:
        raise Damaged("session object that claims to be another one")
    return Session(
        session_id,
        fixed_bytes(fields, "client", CLIENT_ID_SIZE),
        field(fields, "host", str),
        natural(fields, "started"),
        natural(fields, "beat"),
    )


def encode_plan(plan: Plan) -> bytes:
    return pack(
        {
            "number": plan.number,
            "time": plan.time,
            "dead": sorted(plan.dead),
            "repack": sorted(plan.repack),
            "orphans": sorted(plan.orphans),
            "open_generation": plan.open_generation,
        }
    )


def decode_plan(data: bytes, number: int) -> Plan:
    fields = unpack_fields(data)
    _number(fields, number)
    return Plan(
        number,
        natural(fields, "time"),
        _pack_ids(fields, "dead"),
        _pack_ids(fields, "repack"),
        _pack_ids(fields, "orphans"),
        natural(fields, "open_generation"),
    )


def encode_plan_done(done: PlanDone) -> bytes:
    return pack(asdict(done))


def decode_plan_done(data: bytes, number: int) -> PlanDone:
    fields = unpack_fields(data)
    _number(fields, number)
    return PlanDone(number, natural(fields, "time"))


def _number(fields: Fields, number: int) -> None:
    if natural(fields, "number") != number:
        raise Damaged("object that claims another number than it is stored under")


def _pack_ids(fields: Fields, name: str) -> frozenset[PackId]:
    ids = items(fields, name, bytes)
    if any(len(each) != ID_SIZE for each in ids):
        raise Damaged("plan with a malformed pack id")
    return frozenset(PackId(each) for each in ids)
