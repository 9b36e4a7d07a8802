"""Makes the golden repository of the present format; run once for each format version, never again.

    python -m tests.golden.make

It is sealed to nobody (`tests.engine.identity`), so that no private key is kept here. `format-1/` gets the repository, the
state of its client, and what its two snapshots hold.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from chunkstore.storage import LocalStorage
from tests.engine import KIB, Client, describe, edit_tree, make_tree, temporary_directory

HERE = Path(__file__).parent


def as_json(tree: dict[bytes, tuple[object, ...]]) -> dict[str, list[str]]:
    """A described tree as text."""
    return {path.hex(): [repr(part) for part in facts] for path, facts in tree.items()}


def main() -> None:
    place = HERE / "format-1"
    shutil.rmtree(place, ignore_errors=True)
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=11, files=30, largest=6 * KIB)
        client = Client(LocalStorage.create(place / "repository"), base / "client")
        client.create("pyfastcdc:256,1K,4K", 16 * KIB, 64 * KIB)
        first = client.snapshot(tree)
        expected = {first.id: as_json(describe(tree))}
        edit_tree(tree, seed=12)
        second = client.snapshot(tree)
        expected[second.id] = as_json(describe(tree))
        repository_id = client.open().key.repository_id
        shutil.copyfile(client.places.state_file(repository_id), place / "client")
    (place / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
