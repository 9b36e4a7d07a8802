"""Places for the tests of a target."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.tree.target import Target
from tests.targets import ROOT


@pytest.fixture
def place(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "target")


@pytest.fixture
def target(place: bytes) -> Iterator[Target]:
    with Target.prepare(place) as target:
        yield target


@pytest.fixture
def open_place() -> Iterator[bytes]:
    """A place that `as_nobody` can make a target at."""
    with tempfile.TemporaryDirectory() as path:
        if ROOT:
            os.chmod(path, 0o755)
            os.mkdir(path + "/own")
            os.chown(path + "/own", 65534, 65534)
        else:
            os.mkdir(path + "/own")
        yield os.fsencode(path) + b"/own/target"
        subprocess.run(["chmod", "-R", "u+rwX", path], check=True)
