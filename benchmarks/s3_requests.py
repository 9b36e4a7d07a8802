"""Counts what chunkstore asks an S3 server for, and says what AWS would charge.

    python benchmarks/s3_requests.py [--snapshots 1000] [--bytes 300M]

On a SeaweedFS of its own, through a proxy that counts HTTP requests: a first snapshot of a made tree of incompressible and
other files with packs of the default size, and its restore; then, in a repository with many snapshots, each of something new,
one of an unchanged tree, the list of snapshots, and a restore of the latest. The repository with many snapshots is made in memory
and copied to the server, which takes a few seconds instead of half an hour.

Prices are the list prices of S3, standard class, region us-east-1 (https://aws.amazon.com/s3/pricing/, 2025): PUT, COPY, POST,
LIST 0.005 USD for 1,000; GET and all others 0.0004; DELETE is free.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import corpus

sys.path.append(str(Path(__file__).resolve().parents[1]))

from chunkstore.operations.catalog import snapshots
from chunkstore.operations.snapshot_choice import EVERYTHING, choose
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage, Storage, StorageOptions, Waiting, open_storage
from tests.engine import Client, listed, make_tree
from tests.fault_proxy import FaultProxy, proxied
from tests.s3_server import Access, seaweedfs

USD = {"PUT": 5e-6, "POST": 5e-6, "LIST": 5e-6, "GET": 4e-7, "HEAD": 4e-7, "DELETE": 0.0}
VERBS = ("LIST", "GET", "PUT", "DELETE")
GB = 10**9
MIB = 1 << 20
CHUNKER = "pyfastcdc:64K,256K,1M"


class Counting:
    """Prints a row of the table for everything that is done."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy

    def row(self, what: str, action: Callable[[], object]) -> None:
        self._proxy.forget()
        action()
        counted = Counter(each.verb for each in self._proxy.passed)
        sent = sum(each.sent for each in self._proxy.passed)
        received = sum(each.received for each in self._proxy.passed)
        assert counted.keys() <= USD.keys(), counted
        price = sum(USD[verb] * count for verb, count in counted.items())
        cells = [str(counted[verb]) for verb in VERBS]
        others = sum(count for verb, count in counted.items() if verb not in VERBS)
        print(f"| {what} | {' | '.join(cells)} | {others} | {sent / 1e6:.2f} | {received / 1e6:.2f} | {price:.6f} |")
        if sent > 20e6:
            print(
                f"| the same for each GB stored | | | {counted['PUT'] * GB / sent:.0f} | | | 1000 | | {price * GB / sent:.6f} |"
            )
        if received > 20e6:
            gets, cost = counted["GET"] * GB / received, price * GB / received
            print(f"| the same for each GB fetched | | {gets:.0f} | | | | | 1000 | {cost:.6f} |")


def through(access: Access, endpoint: str, prefix: str) -> Storage:
    options = StorageOptions(endpoint_url=endpoint)
    waiting = Waiting(time.monotonic, time.sleep, lambda: 0.5)
    return open_storage(f"s3://{access.bucket}/{prefix}", options=options, waiting=waiting)


def first_snapshot(counting: Counting, storage: Storage, scratch: Path, size: int) -> None:
    """Half of it incompressible, as a disk has it; frames and packs of the sizes that `init` takes."""
    tree = scratch / "large"
    corpus.make_big(tree, 1, size)
    corpus.make_tree(tree / "small", 1, 3000, size // 8)
    client = Client(storage, scratch / "first", workers=2, packs_per_index_object=64)
    client.create(CHUNKER, MIB, 16 * MIB)
    taken = None

    def snapshot() -> None:
        nonlocal taken
        taken = client.snapshot(tree)

    counting.row("first snapshot", snapshot)
    counting.row("the same tree again, unchanged", snapshot)
    assert taken is not None
    counting.row("restore of all of it", lambda: client.restore_to(taken.id, scratch / "restored"))


def many(counting: Counting, access: Access, endpoint: str, scratch: Path, count: int) -> None:
    memory = MemoryStorage()
    tree = scratch / "tree"
    make_tree(tree, seed=1)
    client = Client(memory, scratch / "many")
    client.create()
    for number in range(count):
        (tree / "changing").write_text(str(number))
        client.snapshot(tree)
    direct = through(access, access.endpoint, "many/")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: direct.put(name, memory.get(name)), listed(memory)))
    print(
        f"{count} snapshots, {len(listed(memory))} objects, {len(listed(memory, 'index/'))} of them index\n",
        file=sys.stderr,
    )
    client = client.but(storage=through(access, endpoint, "many/"))
    name = f"{count:,} snapshots: "
    counting.row(name + "one more, nothing changed", lambda: client.snapshot(tree))
    list(snapshots(client.open(), Silent()))
    counting.row(name + "`snapshots`", lambda: list(snapshots(client.open(), Silent())))
    latest = choose(client.open(), "latest", EVERYTHING, Silent()).record.id
    counting.row(name + "`restore latest`, 18 small files", lambda: client.restore_to(latest, scratch / "latest"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=int, default=1000, help="0 leaves the repository with many out")
    parser.add_argument("--bytes", type=corpus.parse_size, default=300 * 10**6)
    arguments = parser.parse_args()
    with seaweedfs() as server, proxied(server.endpoint) as proxy, tempfile.TemporaryDirectory() as scratch:
        access = server.access()
        for name, value in access.environment.items():
            os.environ[name] = value or ""
        counting = Counting(proxy)
        print(f"| what | {' | '.join(VERBS)} | others | MB sent | MB received | USD |\n|{'---|' * 9}")
        first_snapshot(counting, through(access, proxy.endpoint, "first/"), Path(scratch), arguments.bytes)
        if arguments.snapshots:
            many(counting, access, proxy.endpoint, Path(scratch), arguments.snapshots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
