"""Memory: bounded for files larger than it, and the same for few files and for many."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Client, local_client, run_apart, temporary_directory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

KIB_PER_MIB = 1024
HUGE = 1 << 30
FEW, MANY = 2_000, 40_000
LIMIT_MIB = 300


@pytest.fixture
def client() -> Iterator[Client]:
    with temporary_directory() as base:
        client = local_client(base / "repository", base / "client", 2)
        client.create("pyfastcdc", 1 << 20, 16 << 20)
        yield client


def run(verb: str, client: Client, path: Path) -> tuple[str, float]:
    """(result, peak in MiB) in a process of its own."""
    location = client.base.parent / "repository"
    result, peak = run_apart(verb, location, client.base, path, 2, "default-sizes")
    return result, peak / KIB_PER_MIB


def make_huge(path: Path) -> str:
    """A file of holes and of few different blocks, many times; its SHA-256."""
    dice = random.Random(1)
    blocks = [dice.randbytes(1 << 20) for _ in range(6)]
    digest, hole = hashlib.sha256(), bytes(1 << 20)
    with path.open("wb") as file:
        for n in range(HUGE >> 20):
            if n % 12 == 0:
                block = blocks[dice.randrange(len(blocks))]
                file.write(block)
            else:
                block = hole
                file.seek(len(hole), 1)
            digest.update(block)
        file.truncate(HUGE)
    return digest.hexdigest()


def test_a_file_larger_than_the_memory_that_is_allowed(client: Client) -> None:
    tree = client.base.parent / "tree"
    tree.mkdir()
    digest = make_huge(tree / "huge")
    _, taking = run("snapshot", client, tree)
    got, reading = run("cat", client, tree / "huge")
    print(f"\n{HUGE >> 20} MiB: snapshot {taking:.0f} MiB, cat {reading:.0f} MiB resident at most")
    assert got == digest
    assert taking < LIMIT_MIB
    assert reading < LIMIT_MIB


def make_many(tree: Path, count: int) -> None:
    for n in range(count):
        if n % 1000 == 0:
            directory = tree / f"directory-{n:06d}"
            directory.mkdir(parents=True)
        (directory / f"file-{n:06d}").write_bytes(b"%d" % n)


def test_memory_does_not_grow_with_the_number_of_files(client: Client) -> None:
    base = client.base.parent
    peaks = {}
    for count in (FEW, MANY):
        tree = base / f"tree-{count}"
        make_many(tree, count)
        _, first = run("snapshot", client, tree)
        _, again = run("snapshot", client, tree)
        peaks[count] = first, again
        print(f"\n{count} files: {first:.0f} MiB, unchanged {again:.0f} MiB resident at most")
    for few, many in zip(peaks[FEW], peaks[MANY], strict=True):
        assert many - few < 40
        assert many < LIMIT_MIB
