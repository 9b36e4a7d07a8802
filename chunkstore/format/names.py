"""The names of stored objects (section 4 of the design); numbers are written with 16 digits so that they sort."""

from __future__ import annotations

import re

from chunkstore.ids import PackId, SnapshotId

CONFIG = "config/"
RECIPIENTS = "recipients/"
KEYS = "keys/"
PACKS = "packs/"
RUNS = "index/run-"
SEGMENTS = "index/segment-"
GENERATIONS = "index/generation-"
SNAPSHOTS = "snapshots/"
AMENDMENTS = "amendments/"
SESSIONS = "sessions/"
PLANS = "prunes/"
DONE = ".done"

_NUMBER = re.compile(r"[0-9]{16}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


def config(number: int) -> str:
    return f"{CONFIG}{number:016d}"


def recipients(number: int) -> str:
    return f"{RECIPIENTS}{number:016d}"


def sealed_key(key_id: bytes, number: int) -> str:
    return f"{KEYS}{key_id.hex()}.{number:04d}"


def pack(pack_id: PackId) -> str:
    text = pack_id.hex()
    return f"{PACKS}{text[:2]}/{text}"


def pack_id(name: str) -> PackId | None:
    """The id in a pack's name; None when it is not the name of a pack."""
    text = name.rsplit("/", 1)[-1]
    if not _HEX64.fullmatch(text) or name != f"{PACKS}{text[:2]}/{text}":
        return None
    return PackId(bytes.fromhex(text))


def run_index(session: SnapshotId, number: int) -> str:
    return f"{RUNS}{session}-{number:06d}"


def segment(digest: bytes) -> str:
    return f"{SEGMENTS}{digest.hex()}"


def generation(number: int) -> str:
    return f"{GENERATIONS}{number:016d}"


def snapshot(snapshot_id: SnapshotId) -> str:
    return SNAPSHOTS + snapshot_id


def amendment(amendment_id: str) -> str:
    return AMENDMENTS + amendment_id


def session(session_id: SnapshotId) -> str:
    return SESSIONS + session_id


def plan(number: int) -> str:
    return f"{PLANS}{number:016d}"


def plan_done(number: int) -> str:
    return plan(number) + DONE


def number(name: str, prefix: str) -> int | None:
    """The number in `prefix` + 16 digits; None when the name is anything else."""
    text = name[len(prefix) :]
    return int(text) if name.startswith(prefix) and _NUMBER.fullmatch(text) else None
