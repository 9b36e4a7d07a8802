"""One of everything comes back, and programs that know nothing of chunkstore find no difference."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chunkstore.storage import LocalStorage
from tests.command import Machine
from tests.conftest import Keys
from tests.engine import Client
from tests.everything import differences, missing_tools, plant, unseal
from tests.targets import as_nobody
from tests.trees import IS_ROOT

needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())}")


@contextmanager
def place_for(uid: int) -> Iterator[Path]:
    """A directory on a disk, which memory file systems are no match for, that belongs to this user."""
    with tempfile.TemporaryDirectory(prefix="chunkstore-", ignore_cleanup_errors=True) as directory:
        path = Path(directory)
        os.chown(path, uid, uid) if IS_ROOT else None
        try:
            yield path
        finally:
            for name in ("tree", "restored", "again"):
                unseal(path / name)


def round_trip(place: Path) -> None:
    plant(place / "tree")
    (place / "repository").mkdir()
    client = Client(LocalStorage(place / "repository"), place / "client")
    client.create()
    taken = client.snapshot(place / "tree")
    # The file that nobody may read is for root alone.
    unreadable = 0 if os.geteuid() == 0 else 1
    assert taken.result.statistics.errors == unreadable, taken.warnings
    if unreadable:
        (place / "tree" / "mode-0000").unlink()
        taken = client.snapshot(place / "tree")
        assert not taken.result.problems
    again = client.snapshot(place / "tree")
    assert again.record.content_root == taken.record.content_root
    assert again.result.statistics.bytes_read == 256  # the one that is from the future: its time is never trusted
    os.utime(place / "tree", ns=(0, os.stat(place / "tree").st_mtime_ns))
    client.restore_to(taken.id, place / "restored")
    assert differences(place / "tree", place / "restored") == {}


@needs_tools
@pytest.mark.skipif(not IS_ROOT, reason="root's tree is made by root")
def test_the_tree_of_root() -> None:
    with place_for(0) as place:
        round_trip(place)


@needs_tools
def test_the_tree_of_an_ordinary_user() -> None:
    with place_for(65534) as place:
        as_nobody(lambda: round_trip(place))


@needs_tools
@pytest.mark.skipif(not IS_ROOT, reason="root's tree is made by root")
def test_what_root_had_restored_by_an_ordinary_user_is_counted_and_not_an_error() -> None:
    with place_for(0) as place:
        os.chmod(place, 0o755)
        plant(place / "tree")
        (place / "repository").mkdir()
        client = Client(LocalStorage(place / "repository"), place / "client")
        client.create()
        taken = client.snapshot(place / "tree")
        for directory, _, files in os.walk(place):
            if "/tree" not in directory:
                for name in (".", *files):
                    os.chown(os.path.join(directory, name), 65534, 65534)
        os.mkdir(place / "restored")
        os.chown(place / "restored", 65534, 65534)

        def restore_it() -> None:
            done = client.restore_to(taken.id, place / "restored")
            assert not done.problems
            for kind in ("mode", "extended attributes", "flags", "device nodes"):
                assert done.not_set[kind] >= 1, kind
            assert (place / "restored" / "size-100000").read_bytes() == (place / "tree" / "size-100000").read_bytes()
            assert (place / "restored" / "owned" / "0-0").stat().st_mode & 0o7000 == 0
            assert os.getxattr(place / "restored" / "attributes" / "file", "user.plain") == b"value"

        as_nobody(restore_it)


@needs_tools
def test_the_command_brings_it_all_back(initialised: Machine, keys: Keys, tmp_path: Path) -> None:
    machine = initialised.copy_to(tmp_path / "machine")
    owner = Machine(machine.root, keys.private)
    with place_for(os.geteuid()) as place:
        plant(place / "tree")
        if not IS_ROOT:
            (place / "tree" / "mode-0000").unlink()
        machine.snapshot(place / "tree")
        owner.restore("latest", place / "restored")
        assert differences(place / "tree", place / "restored") == {}
        verified = owner.run("verify", "latest", place / "restored")
        lines = [line for line in verified.text.splitlines() if "socket" not in line]
        assert lines[:-1] == []
