"""A study against a plain count in memory, for any files with any duplicates in them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.chunking import make_chunker
from chunkstore.operations.dedup_study.study import dedup_study
from chunkstore.operations.dedup_study.values import Counted, StudyOptions, chunkers_for
from chunkstore.progress import Silent

CHUNKERS = chunkers_for(("pyfastcdc", "fixed"), (256, 1024))
PARTS = [bytes([number]) * 700 + bytes(range(number, 256)) * 3 for number in range(5)]

contents = st.lists(st.lists(st.sampled_from(PARTS), max_size=5).map(b"".join), max_size=7)


def plainly(files: list[bytes], chunker: object) -> Counted:
    """By sets and lists of everything."""
    seen: dict[bytes, set[int]] = {}
    whole: set[bytes] = set()
    chunks = unique_chunks = unique = copied = within = across = 0
    for number, data in enumerate(files):
        start = 0
        for end in chunker.cut(memoryview(data), True):  # type: ignore[attr-defined]
            chunk, start = data[start:end], end
            chunks += 1
            if chunk not in seen:
                unique_chunks, unique = unique_chunks + 1, unique + len(chunk)
            elif data in whole:
                copied += len(chunk)
            elif number in seen[chunk]:
                within += len(chunk)
            else:
                across += len(chunk)
            seen.setdefault(chunk, set()).add(number)
        whole.add(data)
    return Counted(chunks, sum(map(len, files)), unique_chunks, unique, copied, within, across)


@settings(deadline=None, max_examples=60)
@given(contents, st.integers(0, 1))
def test_a_study_counts_what_a_plain_count_does(files: list[bytes], workers: int) -> None:
    options = StudyOptions(CHUNKERS, lambda: 0, sample=0, workers=workers)
    with tempfile.TemporaryDirectory() as directory:
        for number, data in enumerate(files):
            Path(directory, str(number)).write_bytes(data)
        study = dedup_study([os.fsencode(directory)], b"/", options, Silent())
    for measured in study.measurements:
        counted = measured.counted
        assert counted == plainly(files, make_chunker(measured.chunker, 1))
        assert counted.total == counted.unique + counted.copied + counted.within + counted.across == study.total
        assert counted.copied == study.copied
        assert measured.sampled.raw == counted.unique
    assert sum(same.wasted for same in study.same_files) == study.copied
