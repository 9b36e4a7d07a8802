"""What it takes to bring back a large file of which a little changed, in place, against restoring all of it.

    python benchmarks/restore_in_place.py [--size 2147483648] [--share 0.01] [--places 20] [--work DIR]

A file of random bytes is snapshotted, restored into a new folder, then `--share` of that copy is overwritten in
`--places` places, and it is restored again: in place with each `--overwrite` that compares; once more when nothing
differs; and from what a restore left that was killed when half of the file was there. Each is the command line, in a
process of its own, after `sync`, on a warm page cache. Printed are wall time, bytes fetched from the repository and
bytes written to files (both from --json), and bytes that the process dirtied on disk (ru_oublock of wait4: local index and
temporary files too). The result is compared with the source every time.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import machine
from throwaway_key import throwaway_key

BLOCK = 8 << 20
PARTIAL = ".chunkstore-*.partial"


@dataclass(frozen=True, slots=True)
class Row:
    """One restore: seconds, and bytes."""

    name: str
    seconds: float
    fetched: int
    written: int
    dirtied: int


class Bench:
    """A repository in `work`, used by a client whose files are all below it."""

    def __init__(self, work: Path, gnupg: str) -> None:
        self.work = work
        self.source = work / "source" / "file"
        self.target = work / "target"
        self._environment = {
            **os.environ,
            "GNUPGHOME": gnupg,
            "XDG_STATE_HOME": str(work / "state"),
            "XDG_CACHE_HOME": str(work / "cache"),
            "CHUNKSTORE_REPOSITORY": str(work / "repository"),
        }

    def command(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "chunkstore_cli", *map(str, arguments)]
        return subprocess.Popen(program, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def done(self, *arguments: str | Path) -> None:
        process = self.command(*arguments)
        process.communicate()
        if process.returncode:
            raise SystemExit(f"{arguments} failed")

    def restore(self, name: str, *options: str) -> Row:
        os.sync()
        started = time.perf_counter()
        process = self.command("restore", "latest", self.target, "--json", *options)
        assert process.stdout
        told = json.loads(process.stdout.read())
        process.stdout.close()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not filecmp.cmp(self.source, self.target / "file", shallow=False):
            raise SystemExit(f"{name}: the file did not come back: {told}")
        return Row(name, seconds, told["fetched"], told["bytes"], used.ru_oublock * 512)

    def half(self, size: int) -> None:
        """A restore that is killed when half of the file is there."""
        shutil.rmtree(self.target)
        process = self.command("restore", "latest", self.target, "--quiet")
        while process.poll() is None:
            if sum(path.stat().st_blocks * 512 for path in self.target.glob(PARTIAL)) >= size // 2:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        process.communicate()


def make(path: Path, size: int) -> None:
    """A file of random bytes."""
    path.parent.mkdir(parents=True)
    dice = random.Random(1)
    with path.open("wb") as file:
        for left in range(size, 0, -BLOCK):
            file.write(dice.randbytes(min(BLOCK, left)))


def change(path: Path, share: float, places: int) -> None:
    """Overwrite that much of the file, in pieces of one size that lie apart."""
    size = path.stat().st_size
    piece, step = int(size * share / places), size // places
    dice = random.Random(2)
    with path.open("r+b") as file:
        for number in range(places):
            file.seek(number * step + dice.randrange(max(step - piece, 1)))
            file.write(dice.randbytes(piece))


def measure(bench: Bench, size: int, share: float, places: int) -> list[Row]:
    rows = [bench.restore("all of it, into a new folder")]
    for overwrite in ("if-changed", "always"):
        change(bench.target / "file", share, places)
        rows.append(bench.restore(f"{share:.0%} differs, {overwrite}", "--overwrite", overwrite))
    rows.append(bench.restore("nothing differs, if-changed", "--overwrite", "if-changed"))
    rows.append(bench.restore("nothing differs, always", "--overwrite", "always"))
    bench.half(size)
    rows.append(bench.restore("killed half way, if-changed", "--overwrite", "if-changed"))
    return rows


def show(rows: list[Row]) -> None:
    width, mib = max(len(row.name) for row in rows), 1 << 20
    print(f"{'':<{width}}  seconds  ratio  fetched MiB  written MiB  dirtied MiB")
    for row in rows:
        sizes = f"{row.fetched / mib:11.1f}  {row.written / mib:11.1f}  {row.dirtied / mib:11.1f}"
        print(f"{row.name:<{width}}  {row.seconds:7.2f}  {row.seconds / rows[0].seconds:5.2f}  {sizes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2 << 30)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--work", type=Path, help="where to work; by default a temporary directory")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=said.work) as directory, throwaway_key() as key:
        bench = Bench(Path(directory), key.home.as_posix())
        for name, value in machine.facts(Path(directory)).items():
            print(f"{name}: {value}")
        make(bench.source, said.size)
        bench.done("init", "--encrypt-to", key.fingerprint)
        bench.done("snapshot", "--quiet", bench.source.parent)
        show(measure(bench, said.size, said.share, said.places))


if __name__ == "__main__":
    main()
