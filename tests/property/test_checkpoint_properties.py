"""Checkpoints of a manifest that is being written: what they hold, and what the next run makes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.format.entries import join, sort_key
from chunkstore.ids import SnapshotId
from chunkstore.operations.snapshot.last_manifest import LastManifest
from chunkstore.repository.manifest_cache import CacheHeader, ManifestCacheWriter, open_manifest_cache
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.repository.manifest_writer import ManifestWriter
from tests.property.test_manifest_properties import (
    EDITS,
    FILES,
    KEY,
    NAME,
    PROFILE,
    Files,
    Run,
    apply,
    edited,
    expected,
    many_files,
    placed,
    read_ids,
    small_world,
    write_afresh,
)
from tests.sample_objects import DictChunks


def run_with_checkpoints(run: Run, files: Files, checkpoints: Collection[int], ends: int | None = None) -> None:
    """Write `files` with a checkpoint after each so manieth entry; break off after so many, or come to the end.

    Whatever came before: each checkpoint is the manifest of its entries, and the end is that of all.
    """
    header = CacheHeader(SnapshotId(f"{run.number:032x}"), 0, 0, run.now)
    done: Files = {}
    with contextlib.ExitStack() as stack:
        log = ManifestCacheWriter(run.directory, NAME, header, pytest.fail)
        stack.callback(log.close)
        cache = open_manifest_cache(run.directory, NAME)
        if cache:
            stack.callback(cache.close)
        manifest = ManifestWriter(run.chunks, KEY.segment_cut_key, log)
        last = LastManifest(cache, KEY, manifest, log.ids, run.chunks.add if run.look_up else None)
        for number, (parent, name, node) in enumerate(placed(files), 1):
            run._entry(last, manifest, parent, name, node)
            done[join(parent, name)] = node
            if number in checkpoints:
                last.interrupt()
                so_far = manifest.so_far()
                assert so_far.roots == write_afresh(done, DictChunks(KEY), run.now)
                log.checkpoint(so_far.tail, len(done), 0)
            if number == ends:
                return
        last.finish()
        roots = manifest.finish()
        run.gone = last.files_gone
        assert roots == write_afresh(files, DictChunks(KEY), run.now)
        assert read_ids(ManifestReader(run.chunks, roots.content, roots.reference)) == expected(files, run.now)
        log.keep(len(files), 0)


@settings(PROFILE, max_examples=80)
@given(FILES, st.lists(EDITS, min_size=1, max_size=4), st.booleans(), st.randoms(use_true_random=False))
def test_runs_that_break_off_after_checkpoints(
    files: Files, edits: list[list[tuple[str, object, object]]], look_up: bool, random: Random
) -> None:
    chunks = DictChunks(KEY)
    with TemporaryDirectory() as directory, small_world():
        for number, each in enumerate([[], *edits]):
            files = apply(files, each)
            count = len(files)
            checkpoints = random.sample(range(1, count + 1), min(count, random.randrange(4)))
            ends = random.choice([None, random.randrange(1, count + 1)])
            run_with_checkpoints(Run(Path(directory), chunks, number, look_up), files, checkpoints, ends)
        run_with_checkpoints(Run(Path(directory), chunks, 100, look_up), files, [])


@settings(PROFILE, max_examples=30)
@given(st.integers(0, 2**32), st.booleans())
def test_nothing_is_lost_of_what_came_before(seed: int, look_up: bool) -> None:
    """Of the paths up to the checkpoint its part counts, of the others the manifest before it: each once."""
    random = Random(seed)
    before = many_files(random, 200, max_chunks=5)
    broken = edited(random, before, 6)
    after = edited(random, broken, 6)
    at = random.randrange(1, len(broken) + 1)
    chunks = DictChunks(KEY)
    with TemporaryDirectory() as directory, small_world():
        run_with_checkpoints(Run(Path(directory), chunks, 0, look_up), before, [])
        run_with_checkpoints(Run(Path(directory), chunks, 1, look_up), broken, [at // 2, at], at)
        last = Run(Path(directory), chunks, 2, look_up)
        run_with_checkpoints(last, after, [])
    order = [(sort_key(parent, name), join(parent, name)) for parent, name, _ in placed(broken)]
    reached, end = {path for _, path in order[:at]}, order[at - 1][0]
    rest = {join(parent, name) for parent, name, _ in placed(before) if sort_key(parent, name) > end}
    known = {path: broken[path] for path in reached} | {path: before[path] for path in rest}
    assert last.kept == sum(path in after and after[path] == node for path, node in known.items())
    assert last.gone == sum(path not in after for path in known)
