"""The corpora of the benchmarks: the same from the same seed, of the size that was asked, and of their kind."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chunkstore.operations.dedup_study.study import dedup_study
from chunkstore.operations.dedup_study.values import Study, StudyOptions, chunkers_for
from chunkstore.progress import Silent

MIB = 1 << 20
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def corpus() -> Iterator[ModuleType]:
    """`benchmarks/corpus.py`, with one vocabulary for each seed: making it is most of the work for a small corpus."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        corpus = importlib.import_module("corpus")
        kinds = importlib.import_module("corpus_kinds")
        kinds.Vocabulary = functools.cache(kinds.Vocabulary)  # type: ignore[attr-defined]
        yield corpus
    finally:
        sys.path.remove(str(BENCHMARKS))


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def studied(root: Path) -> Study:
    chunkers = chunkers_for(("pyfastcdc", "fixed"), (64 << 10,))
    return dedup_study([os.fsencode(root)], b"/", StudyOptions(chunkers, lambda: 0, sample=0, workers=0), Silent())


@pytest.mark.parametrize("kind", ["image", "database", "mail", "media"])
def test_a_corpus_is_the_same_from_the_same_seed_and_of_its_size(corpus: ModuleType, tmp_path: Path, kind: str) -> None:
    for name in ("one", "again"):
        corpus.make(kind, tmp_path / name, 3, size=20 * MIB)
    one = bytes_of(tmp_path / "one")
    assert one == bytes_of(tmp_path / "again")
    times = [os.stat(tmp_path / name / path).st_mtime_ns for path in one for name in ("one", "again")]
    assert times[::2] == times[1::2]
    assert sum(map(len, one.values())) == pytest.approx(20 * MIB, rel=0.4)


def test_each_corpus_is_what_it_is_called(corpus: ModuleType, tmp_path: Path) -> None:
    found = {}
    for kind in ("image", "database", "mail", "media"):
        corpus.make(kind, tmp_path / kind, 1, size=24 * MIB)
        found[kind] = studied(tmp_path / kind).measurements
    content, fixed = 0, 1
    assert found["image"][fixed].counted.deduplication > 1.5, "most blocks of both versions are the same, and in place"
    assert found["database"][fixed].counted.deduplication > 1.1
    ratios = [found["mail"][chunker].counted.deduplication for chunker in (content, fixed)]
    assert ratios[0] > 1.3 * ratios[1], "the same attachments stand at other places"
    assert found["media"][fixed].compression == pytest.approx(1, rel=0.01)
    assert found["media"][content].counted.copied > 0
    assert found["media"][content].counted.across > 0, "the same picture with another header"
    assert found["database"][fixed].compression > 1.3
