"""Makes runs of real code that get the same answers store the same bytes, and spares them what costs time and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest

from chunkstore.format import names
from chunkstore.keys import derivation, sealing
from chunkstore.operations import usage
from chunkstore.operations.prune import spare
from chunkstore.operations.prune import survey as prune_survey
from chunkstore.operations.prune.sessions import Sessions
from chunkstore.operations.prune.survey import Survey
from chunkstore.repository.id_buckets import BUCKETS, IdBuckets
from chunkstore.repository.index_scan import IndexScan
from chunkstore.storage import ObjectInfo


class _SameEachTime:
    """HPKE takes randomness from nowhere that can be passed in: what was sealed once is sealed the same way again."""

    def __init__(self, suite: Any) -> None:
        self._suite = suite
        self._sealed: dict[tuple[bytes, bytes, bytes], bytes] = {}

    def encrypt(self, plaintext: bytes, public: Any, info: bytes) -> bytes:
        key = plaintext, public.public_bytes_raw(), info
        if key not in self._sealed:
            self._sealed[key] = self._suite.encrypt(plaintext, public, info=info)
        return self._sealed[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._suite, name)


def _all_rows(self: IndexScan, bucket: int) -> Iterator[tuple[bytes, int, int]]:
    assert bucket == 0
    return iter(self._db.execute("SELECT id, frame, length FROM chunks ORDER BY id, frame").fetchall())


def _all_ids(self: IdBuckets, number: int) -> set[bytes]:
    assert number == 0
    return {
        data[at : at + 32]
        for bucket in range(BUCKETS)
        if self._open[bucket] or self._blocks[bucket]
        for data in self.pieces(bucket)
        for at in range(0, len(data), self._width)
    }


def _listed_once(self: Survey) -> Iterable[ObjectInfo]:
    every = {info.name: info for info in self.repository.storage.list(names.SNAPSHOTS)}
    if self.repository.records:
        self.repository.records.keep_only(names.SNAPSHOTS, every)
    return every.values()


@contextmanager
def same_each_time(*, lean: bool = False) -> Iterator[None]:
    """All ids are in one bucket instead of 256, nearly all of which are empty; no key is derived twice.

    The second listing of records, which a pruner compares with the first, is made in one piece instead of sixteen. `lean`: it
    is left out, and so is the object by which a pruner learns the storage's time: all objects have one time here, and these
    answers can only stop a prune.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "SUITE", _SameEachTime(sealing.SUITE))
        patch.setattr(derivation, "derive", lru_cache(8192)(derivation.derive))
        for module in (usage, spare):
            patch.setattr(module, "BUCKETS", 1)
        patch.setattr(IndexScan, "chunks", _all_rows)
        patch.setattr(IdBuckets, "bucket", _all_ids)
        patch.setattr(prune_survey, "_HEX", ("",))
        if lean:
            patch.setattr(Survey, "_listed", _listed_once)
            patch.setattr(Sessions, "_ask_the_time", lambda self, probe: None)
        yield
