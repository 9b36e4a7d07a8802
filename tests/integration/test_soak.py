"""Many machines, one repository, one pruner, and SIGKILL; see `tests.soaking`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Keys
from tests.engine import temporary_directory
from tests.s3_server import SeaweedFS
from tests.soaking import Soak

MACHINES = 8
SECONDS = 60.0


def soak(base: Path, seaweed: SeaweedFS, keys: Keys, seed: int, rest_s: float, restored: int) -> None:
    access = seaweed.make_bucket()
    url, environment = f"s3://{access.bucket}/soak", access.environment
    running = Soak(base, url, environment, keys.private, keys.fingerprint, MACHINES, seed, rest_s)
    running.go_on(SECONDS)
    assert running.check(restored) == []
    counts = running.counts
    assert counts.snapshots >= MACHINES
    assert counts.killed_snapshots + counts.killed_prunes > 0
    assert counts.beside_a_prune > 0, "no snapshot was made beside a prune"


def test_machines_that_are_killed_lose_nothing_that_succeeded(seaweed: SeaweedFS, keys: Keys) -> None:
    with temporary_directory() as base:
        soak(base, seaweed, keys, seed=5, rest_s=12.0, restored=1)


@pytest.mark.exhaustive
def test_the_same_of_machines_that_never_rest(seaweed: SeaweedFS, keys: Keys) -> None:
    with temporary_directory() as base:
        soak(base, seaweed, keys, seed=6, rest_s=0.0, restored=3)
