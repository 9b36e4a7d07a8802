"""Many machines, one repository, one pruner, and SIGKILL; see `tests.soaking`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Keys
from tests.engine import temporary_directory
from tests.s3_server import SeaweedFS
from tests.soaking import Soak


def soak(base: Path, seaweed: SeaweedFS, keys: Keys, machines: int, seconds: float, seed: int, restored: int) -> None:
    access = seaweed.make_bucket()
    url, environment = f"s3://{access.bucket}/soak", access.environment
    running = Soak(base, url, environment, keys.private, keys.fingerprint, machines, seed)
    running.go_on(seconds)
    assert running.check(restored) == []
    counts = running.counts
    assert counts.snapshots >= machines
    assert counts.killed_snapshots + counts.killed_prunes > 0
    assert counts.beside_a_prune > 0, "no snapshot was made beside a prune"


def test_machines_that_are_killed_lose_nothing_that_succeeded(seaweed: SeaweedFS, keys: Keys) -> None:
    with temporary_directory() as base:
        soak(base, seaweed, keys, machines=4, seconds=15, seed=5, restored=1)


@pytest.mark.exhaustive
def test_for_a_minute_with_eight_machines(seaweed: SeaweedFS, keys: Keys) -> None:
    with temporary_directory() as base:
        soak(base, seaweed, keys, machines=8, seconds=60, seed=6, restored=3)
