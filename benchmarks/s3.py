"""Compares chunkstore on S3 with a plain copy of the very same objects by boto3, and with restic, on one SeaweedFS.

    python benchmarks/s3.py --make tree --files 20000 --bytes 220M --repeat 3
    python benchmarks/s3.py --tree /usr/lib --repeat 3 --markdown figures.md
    python benchmarks/s3.py --make big --bytes 800M --line 30M

Starts `weed mini` on loopback, its data in memory where there is /dev/shm. Each repetition has prefixes and caches of its own
and measures, in a changing order:

    first snapshot    chunkstore; boto3 uploading the objects that a chunkstore snapshot of this tree stored, the very same
                      bytes, over four connections; restic
    restore           chunkstore into an empty directory; boto3 downloading the same objects and keeping nothing; restic

The plain copy neither reads the tree nor compresses nor encrypts: it is what the server, HTTP and boto3 take, hence the limit.
Restores are compared with the source. `server s` is the processor time of the server meanwhile: it runs on the same cores.
With `--line` all of it goes over a line of so many bytes a second (`slow_line.py`), as over a network, where the processors are
not the limit. See `measure.py` for the other figures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import corpus
import machine
from compare import differences, listing
from end_to_end import Failed, prepare_tree
from measure import run, warm
from report import Report, Sample
from throwaway_key import throwaway_key
from tools import Chunkstore, Command, Key, Restic, missing, version_of

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.s3_server import Access, SeaweedFS, seaweedfs

SNAPSHOT, RESTORE, PLAIN = "first snapshot", "restore", "boto3 copy"
CONNECTIONS = 4
COPY = [sys.executable, str(Path(__file__).with_name("s3_copy.py"))]
LINE = [sys.executable, str(Path(__file__).with_name("slow_line.py"))]
MEMORY = "4GiB"
"""For the server: with the 256 MiB that the tests give it, it spends its time collecting garbage."""


@dataclass(frozen=True)
class CloudChunkstore(Chunkstore):
    access: Access | None = None
    prefix: str = ""

    @property
    def _on_repository(self) -> Command:
        return [*self.command, "-r", f"s3://{self.access.bucket}/{self.prefix}"]

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), **self.access.environment}


@dataclass(frozen=True)
class CloudRestic(Restic):
    access: Access | None = None
    prefix: str = ""

    def environment(self) -> Mapping[str, str]:
        place = f"s3:{self.access.endpoint}/{self.access.bucket}/{self.prefix.rstrip('/')}"
        return {**super().environment(), **self.access.environment, "RESTIC_REPOSITORY": place}


@dataclass
class Run:
    """The work directory, the server, what is compared, and the report that grows."""

    work: Path
    key: Key
    server: SeaweedFS
    access: Access
    report: Report
    server_time: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        return self.work / "tree"

    @property
    def objects(self) -> Path:
        """What a snapshot of the tree stored, as files."""
        return self.work / "objects"

    def prepare(self) -> None:
        """Make a repository apart from what is measured, and fetch its objects."""
        tool = self._tools("apart", ["chunkstore"])[0]
        for command in (tool.init(), tool.snapshot(self.tree, 0)):
            self._command(command, tool.environment())
        self._command(self._copy("download", tool.prefix, self.objects), tool.environment())

    def repetition(self, number: int, names: list[str]) -> None:
        tools = {tool.name: tool for tool in self._tools(str(number), names)}
        for tool in tools.values():
            self._command(tool.init(), tool.environment())
        order = [*tools, PLAIN]
        self._each(order, number, lambda name: self._snapshot(tools, name, number))
        source = listing(self.tree)
        for name in (order * 2)[number % len(order) :][: len(order)]:
            target = self.work / "restored" / str(number) / name
            target.mkdir(parents=True)
            self._restore(tools, name, number, target)
            if name != PLAIN:
                found = differences(source, listing(target))
                if found:
                    raise Failed(f"{name}: restore differs in {len(found)} entries, first: {found[0]}")
                self.report.verified.append(f"{name}, repetition {number + 1}, {len(source):,} entries")

    def _each(self, order: list[str], number: int, action: Callable[[str], None]) -> None:
        start = number % len(order)
        for name in order[start:] + order[:start]:
            action(name)

    def _tools(self, number: str, names: list[str]) -> list[CloudChunkstore | CloudRestic]:
        found: list[CloudChunkstore | CloudRestic] = []
        for name in names:
            home = self.work / "homes" / number / name
            home.mkdir(parents=True)
            kind = CloudChunkstore if name == "chunkstore" else CloudRestic
            found.append(kind(home, self.key, name, access=self.access, prefix=f"{name}-{number}/"))
        return found

    def _snapshot(self, tools: dict[str, CloudChunkstore | CloudRestic], name: str, number: int) -> None:
        if name == PLAIN:
            warm(self.objects)
            prefix = f"plain-{number}/"
            self._measured(SNAPSHOT, PLAIN, number, self._copy("upload", prefix, self.objects), prefix)
        else:
            warm(self.tree)
            tool = tools[name]
            self._measured(SNAPSHOT, name, number, tool.snapshot(self.tree, 0), tool.prefix, tool.environment())

    def _restore(self, tools: dict[str, CloudChunkstore | CloudRestic], name: str, number: int, target: Path) -> None:
        if name == PLAIN:
            self._measured(RESTORE, PLAIN, number, self._copy("receive", f"plain-{number}/"))
        else:
            tool = tools[name]
            self._measured(RESTORE, name, number, tool.restore(self.tree, 0, target), "", tool.environment())

    def _copy(self, verb: str, prefix: str, *directory: Path) -> Command:
        return [*COPY, verb, *map(str, directory), self.access.bucket, prefix, str(CONNECTIONS)]

    def _measured(
        self,
        step: str,
        name: str,
        number: int,
        command: Command,
        prefix: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        before = self._server_seconds()
        usage = self._command(command, environment)
        self.server_time.setdefault((step, name), []).append(self._server_seconds() - before)
        stored = self._stored(prefix) if prefix else 0
        self.report.samples.append(Sample(step, name, number, usage, stored))
        print(f"  {step}, {name}: {usage.wall:.2f} s", file=sys.stderr)

    def _command(self, command: Command, environment: Mapping[str, str] | None = None):  # type: ignore[no-untyped-def]
        log = self.work / "log"
        plain = {"PATH": os.environ["PATH"], **self.access.environment}
        usage = run(command, log, environment or plain)
        if usage.exit_code:
            raise Failed(f"{command[0]} ended with {usage.exit_code}, see {log}")
        return usage

    def _stored(self, prefix: str) -> int:
        access = self.server.access()
        pages = access.client().get_paginator("list_objects_v2").paginate(Bucket=access.bucket, Prefix=prefix)
        return sum(each["Size"] for page in pages for each in page.get("Contents", ()))

    def _server_seconds(self) -> float:
        assert self.server.process is not None
        fields = Path(f"/proc/{self.server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ratios(one: Run) -> list[str]:
    """What chunkstore took against the others, repetition by repetition."""
    walls = {(each.step, each.tool, each.repetition): each.usage.wall for each in one.report.samples}
    found = []
    for step, name in one.server_time:
        seconds = median(one.server_time[step, name])
        line = f"{step}, {name}: server s {seconds:.2f}"
        if name != "chunkstore":
            each = [
                walls[step, "chunkstore", at] / wall for (s, n, at), wall in walls.items() if (s, n) == (step, name)
            ]
            line += f"; chunkstore took {median(each):.2f} of its time ({', '.join(f'{x:.2f}' for x in each)})"
        found.append(line)
    return found


@contextmanager
def line(server: SeaweedFS, rate: int | None) -> Iterator[Access]:
    """The way to the server: directly, or over a slow line."""
    access = server.access()
    if rate is None:
        yield access
        return
    address = access.endpoint.removeprefix("http://")
    with subprocess.Popen([*LINE, address, str(rate)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield replace(access, endpoint=f"http://127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.kill()


def compare(arguments: argparse.Namespace, work: Path) -> Run:
    """The whole run in `work`."""
    report = Report(machine.facts(work))
    (work / "tree").mkdir()
    with throwaway_key() as key, seaweedfs(MEMORY) as server, line(server, arguments.line) as access:
        names = []
        for tool in (Chunkstore(work, key, "chunkstore"), Restic(work, key, "restic")):
            if reason := missing(tool):
                report.absent.append(f"{tool.name}: {reason}")
            else:
                names.append(tool.name)
                report.facts[tool.name] = version_of(tool)
        report.facts["tree"] = prepare_tree(arguments, work / "tree")
        report.facts["repetitions"] = str(arguments.repeat)
        report.facts["connections"] = f"{CONNECTIONS}, restic its default"
        report.facts["line"] = f"{arguments.line} bytes a second" if arguments.line else "loopback"
        one = Run(work, key, server, access, report)
        one.prepare()
        for number in range(arguments.repeat):
            one.repetition(number, names)
    return one


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tree", type=Path, help="measure with a copy of this directory")
    source.add_argument("--make", choices=("tree", "big", "mixed"), help="make a corpus and measure with it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=20_000, help="of --make tree")
    parser.add_argument("--bytes", type=corpus.parse_size, help="of --make tree or big, for instance 220M")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--line", type=corpus.parse_size, metavar="RATE", help="bytes a second, for instance 30M")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    work = Path(tempfile.mkdtemp(prefix="chunkstore-s3-bench-"))
    try:
        one = compare(arguments, work)
    except Failed as failure:
        print(f"FAILED {failure}\n{(work / 'log').read_text(errors='replace')[-2000:]}", file=sys.stderr)
        return 1
    finally:
        for name in ("tree", "objects", "homes", "restored"):
            shutil.rmtree(work / name, ignore_errors=True)
    print("\n".join([one.report.plain(), "", *ratios(one)]))
    if arguments.markdown:
        lines = [one.report.markdown(), *(f"- {each}" for each in ratios(one)), ""]
        arguments.markdown.write_text("\n".join(lines))
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
