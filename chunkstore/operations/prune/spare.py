"""What of a plan is carried out after all, once every session that could rely on it has ended: only what is in use nowhere.

A resumed plan is somebody else's word, and an own one is old by now: so each chunk in use is looked up again.

| where a chunk in use is | then |
|---|---|
| in a pack the plan does not name, or that is spared already | nothing |
| in a frame of a pack that is to be repacked, and it counts as used there | that frame is copied |
| in a pack that the plan calls dead or an orphan | that pack is spared |
| in packs that are to be repacked, and nowhere else | its frame is copied from one of them |
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from chunkstore.format.runs import Plan
from chunkstore.ids import PackId
from chunkstore.operations.usage import Usage
from chunkstore.repository.id_buckets import BUCKETS

_STAYS, _GOES, _REPACKED, _SPARED, _DAMAGED = range(5)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`spared`: packs of the plan that stay. `copied`: 1 for each frame, by its number, that is copied. `fate`: by pack number."""

    spared: frozenset[PackId]
    copied: bytearray
    fate: bytearray

    def is_repacked(self, pack: int) -> bool:
        """Whether the pack of this number goes, and frames of it are copied."""
        return self.fate[pack] == _REPACKED


def judge(
    plan: Plan, usage: Usage, live_bucket: Callable[[int], set[bytes]], damaged: Container[PackId] = frozenset()
) -> Verdict:
    """Decide what of a plan still holds. Orphans that are in an index by now stay: their run has published them.

    `damaged`: packs whose bytes are not what their names say. They stay, and what they hold is not relied on where it is
    elsewhere too.
    """
    fate = bytearray(len(usage.pack_there))
    ids: dict[int, PackId] = {}
    for pack in usage.packs():
        if pack.pack_id in plan.condemned and pack.pack_id in damaged:
            fate[pack.no] = _DAMAGED
        elif pack.pack_id in plan.orphans:
            fate[pack.no] = _SPARED
        elif pack.pack_id in plan.dead:
            fate[pack.no] = _GOES
        elif pack.pack_id in plan.repack:
            fate[pack.no] = _REPACKED
        if fate[pack.no]:
            ids[pack.no] = pack.pack_id
    copied = bytearray(len(usage.frame_live))
    for number in range(BUCKETS):
        _judge_bucket(usage, live_bucket(number), number, fate, copied)
    return Verdict(frozenset(each for no, each in ids.items() if fate[no] in (_SPARED, _DAMAGED)), copied, fate)


def _judge_bucket(usage: Usage, live: set[bytes], number: int, fate: bytearray, copied: bytearray) -> None:
    last, places = b"", list[int]()
    for chunk_id, frame, _ in usage.scan.chunks(number):
        if chunk_id not in live:
            continue
        if chunk_id != last:
            _keep(usage, places, fate, copied)
            last, places = chunk_id, []
        if usage.pack_there[usage.frame_pack[frame]]:
            places.append(frame)
    _keep(usage, places, fate, copied)


def _keep(usage: Usage, places: list[int], fate: bytearray, copied: bytearray) -> None:
    """See to it that one of these frames outlives the plan."""
    places = [frame for frame in places if fate[usage.frame_pack[frame]] != _DAMAGED]
    fates = [fate[usage.frame_pack[frame]] for frame in places]
    if not places or _STAYS in fates or _SPARED in fates or any(copied[frame] for frame in places):
        return
    repacked = [frame for frame, each in zip(places, fates, strict=True) if each == _REPACKED]
    # The one that counts as used: of frames that hold the same in part, the others would be copied in vain.
    used = next(filter(usage.is_live, repacked), None)
    if used is None and _GOES in fates:
        fate[usage.frame_pack[places[fates.index(_GOES)]]] = _SPARED
    else:
        copied[repacked[0] if used is None else used] = 1
