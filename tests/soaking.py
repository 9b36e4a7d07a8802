"""Many machines that snapshot into one repository while another forgets and prunes, and any of them is killed at random.

Everything is real: the command line in processes of its own, a server that is given, gpg at the end. What is asked of it:

- every snapshot that said it succeeded, and that no rule let go, restores to exactly what its source was;
- nothing unreferenced survives a last prune, and `check` finds no damage;
- nobody waits for anybody: snapshots begin and end while a prune is under way. Each second prune is held in its midst,
  wherever that is, until one has.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.command import Machine
from tests.engine import KIB, Tree, describe, edit_tree, make_tree

KEPT = 3
"""So many snapshots of each machine the rule keeps."""
_LOOK_EVERY_S = 0.02
_DEAD_AFTER = "8s"
_LONGEST_S = 240
_LAST_PRUNES = 2


class RemoteMachine(Machine):
    """A machine that means one repository on a server."""

    def __init__(self, root: Path, gnupg: object, url: str, environment: Mapping[str, str | None]) -> None:
        super().__init__(root, gnupg)  # type: ignore[arg-type]
        self._more = {**environment, "CHUNKSTORE_REPOSITORY": url}

    def environment(self, **changes: str | None) -> dict[str, str]:
        return super().environment(**{**self._more, **changes})


@dataclass
class Run:
    """A process that is under way."""

    process: subprocess.Popen[bytes]
    began: float
    dies_at: float | None
    held_at: float | None = None
    """When it is stopped until somebody else has begun and ended."""
    held: bool = False

    def hold(self) -> None:
        """Stop it, unless it was before."""
        self.process.send_signal(signal.SIGSTOP)
        self.held, self.held_at, self.dies_at = True, None, None

    def let_go(self) -> None:
        """Let it go on."""
        if self.held:
            self.process.send_signal(signal.SIGCONT)
            self.began = time.monotonic()  # of what is still to be done
            self.held = False


@dataclass
class Counts:
    """What happened."""

    snapshots: int = 0
    prunes: int = 0
    killed_snapshots: int = 0
    killed_prunes: int = 0
    fenced: int = 0
    """Runs that prunes took for dead. Of this and what follows, only what prunes that were not killed said."""
    forgotten: int = 0
    deleted_packs: int = 0
    deleted_bytes: int = 0
    written_bytes: int = 0
    restored: int = 0
    """Snapshots that were compared with what they were made of, at the end."""
    beside_a_prune: int = 0
    """Snapshots that began and ended while one prune was under way."""
    longest_s: float = 0.0

    def add_prune(self, said: dict[str, Any]) -> None:
        """`said`: the JSON of `forget --prune`."""
        self.prunes += 1
        self.forgotten += len(said["forgotten"])
        pruned = said["prune"]
        self.fenced += pruned["fenced"]
        self.deleted_packs += pruned["deleted"]["packs"]
        self.deleted_bytes += pruned["deleted"]["bytes"]
        self.written_bytes += pruned["written"]["bytes"]


@dataclass
class Writer:
    """A machine with a tree of its own, part of which others have too."""

    name: str
    machine: RemoteMachine
    tree: Path
    run: Run | None = None
    rests_until: float = 0.0
    was: Tree = field(default_factory=dict)
    made: dict[str, Tree] = field(default_factory=dict)
    began: dict[str, str] = field(default_factory=dict)
    """When, as the snapshots that were made say it."""
    edits: int = 0


class Soak:
    """One soak test. Kills what it started, whatever happens."""

    def __init__(
        self,
        base: Path,
        url: str,
        environment: Mapping[str, str | None],
        gnupg: object,
        recipient: str,
        writers: int = 8,
        seed: int = 1,
        rest_s: float = 0.0,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`gnupg`: a homedir with the private key of `recipient`. `tell` hears now and then how it goes.

        `rest_s`: so long does nobody do anything, on an average, after each run: who has to share the processor.
        """
        self.counts = Counts()
        self._dice = random.Random(seed)
        self._rest_s = rest_s
        self._tell = tell
        self._pruner = RemoteMachine(base / "pruner", gnupg, url, environment)
        self._prune: Run | None = None
        self._prune_rests_until = 0.0
        self._holds_next = True
        self._usual_s = {"snapshot": 2.0, "forget": 2.0}
        small = ("--chunker", "pyfastcdc:1K,4K,16K", "--pack-size", "1M")
        made = self._pruner.done("init", "--encrypt-to", recipient, "--json", *small).json
        self._writers = []
        for number in range(writers):
            machine = RemoteMachine(base / f"machine-{number}", gnupg, url, environment)
            machine.done("join", "--fingerprint", made["fingerprint"], "--json")
            writer = Writer(f"machine-{number}", machine, base / f"tree-{number}")
            make_tree(writer.tree, seed=number // 2, files=24, largest=160 * KIB)  # each two have the same files
            self._writers.append(writer)

    # -- running

    def go_on(self, seconds: float) -> None:
        """Let everybody work for so long, and each run that is under way then come to its end."""
        end, said = time.monotonic() + seconds, time.monotonic()
        try:
            while (now := time.monotonic()) < end or self._busy():
                for writer in self._writers:
                    self._look_at(writer, more=now < end)
                self._look_at_prune(more=now < end)
                if now - said > 30:
                    said = now
                    self._tell(str(self.counts))
                time.sleep(_LOOK_EVERY_S)
        finally:
            for run in (self._prune, *(writer.run for writer in self._writers)):
                if run is not None:
                    run.process.kill()
                    run.process.communicate()

    def _busy(self) -> bool:
        return self._prune is not None or any(writer.run for writer in self._writers)

    def _look_at(self, writer: Writer, more: bool) -> None:
        run = writer.run
        if run is None:
            if more and time.monotonic() >= writer.rests_until:
                writer.edits += 1
                edit_tree(writer.tree, self._dice.randrange(1 << 30) if writer.edits % 3 else 7 * writer.edits)
                writer.was = describe(writer.tree)
                arguments = ("snapshot", "--json", "--host", writer.name, writer.tree)
                writer.run = self._started(writer.machine, 0.25, *arguments)
        elif run.process.poll() is not None:
            writer.run, writer.rests_until = None, self._after_a_rest()
            self._take(writer, run)
        else:
            self._kill_in_time(run)

    def _take(self, writer: Writer, run: Run) -> None:
        stdout, stderr = run.process.communicate()
        if run.process.returncode == -signal.SIGKILL:
            self.counts.killed_snapshots += 1
            return
        assert run.process.returncode == 0, (writer.name, run.process.returncode, stderr)
        said = json.loads(stdout)["snapshot"]
        writer.made[said["id"]], writer.began[said["id"]] = writer.was, said["time"]
        self.counts.snapshots += 1
        self._learn("snapshot", run)
        self.counts.longest_s = max(self.counts.longest_s, time.monotonic() - run.began)
        if self._prune is not None and self._prune.began < run.began:
            self.counts.beside_a_prune += 1
            self._prune.let_go()

    def _look_at_prune(self, more: bool) -> None:
        run = self._prune
        if run is None:
            if (
                more and self.counts.snapshots and time.monotonic() >= self._prune_rests_until
            ):  # it refuses to delete all
                rules = ("forget", "--json", "--keep-last", KEPT, "--max-removed", "100%")
                pruning = ("--prune", "--stale-after", _DEAD_AFTER, "--max-unused", "1%")
                self._prune = self._started(self._pruner, 0.3, *map(str, (*rules, *pruning)))
                if self._holds_next:
                    self._prune.held_at = self._prune.began + self._dice.uniform(0.2, 0.8) * self._usual_s["forget"]
                self._holds_next = not self._holds_next
        elif run.process.poll() is not None:
            self._prune, self._prune_rests_until = None, self._after_a_rest()
            if run.held_at is not None:  # it ended before
                self._holds_next = True
            stdout, stderr = run.process.communicate()
            if run.process.returncode == -signal.SIGKILL:
                self.counts.killed_prunes += 1
                return
            assert run.process.returncode == 0, (run.process.returncode, stderr)
            self._learn("forget", run)
            self.counts.add_prune(json.loads(stdout))
        elif run.held_at is not None and more and time.monotonic() >= run.held_at:
            run.hold()
        elif run.held and not more:
            run.let_go()
        else:
            self._kill_in_time(run)

    def _after_a_rest(self) -> float:
        return time.monotonic() + self._dice.uniform(0, 2 * self._rest_s)

    def _learn(self, command: str, run: Run) -> None:
        """How long it usually takes, so that it is killed anywhere, however busy the machine is."""
        self._usual_s[command] = 0.7 * self._usual_s[command] + 0.3 * (time.monotonic() - run.began)

    def _started(self, machine: RemoteMachine, mortality: float, *arguments: str | Path) -> Run:
        now = time.monotonic()
        within_s = self._usual_s[str(arguments[0])]
        dies = now + self._dice.uniform(0.2, 1.1) * within_s if self._dice.random() < mortality else None
        return Run(machine.start(*arguments), now, dies)

    def _kill_in_time(self, run: Run) -> None:
        now = time.monotonic()
        if run.dies_at is not None and now >= run.dies_at:
            run.process.kill()
        assert now - run.began < _LONGEST_S, "somebody waits"

    # -- afterwards

    def check(self, restored: int | None = None) -> list[str]:
        """What is not as it must be; empty when all is well. `restored`: at most so many snapshots of each machine."""
        wrong = self._last_prune()
        listed = self._pruner.done("snapshots", "--json").json["snapshots"]
        there = {each["id"] for each in listed}
        for writer in self._writers:
            wrong += self._gone(writer, [each for each in listed if each["host"] == writer.name])
            for each in [made for made in writer.made if made in there][-(restored or len(there)) :]:
                target = self._pruner.restore(each, self._pruner.root / "out")
                self.counts.restored += 1
                if describe(target) != writer.made[each]:
                    wrong.append(f"{writer.name}: snapshot {each} restores to something else")
                shutil.rmtree(target)
        return wrong

    def _gone(self, writer: Writer, there: list[dict[str, Any]]) -> list[str]:
        """What the rule could not let go. Runs that were killed after their commit have a snapshot, too, and it counts."""
        last = {each["id"]: each["time"] for each in there}
        return [
            f"{writer.name}: snapshot {each} is gone"
            for each in writer.made
            if each not in last and sum(time >= writer.began[each] for time in last.values()) < KEPT
        ]

    def _last_prune(self) -> list[str]:
        """Prune until nothing is left to do, without anybody else; what is stored in vain all the same.

        What prunes left that were killed or held takes some: one ends an open plan, copies are found by the next.
        """
        for _ in range(_LAST_PRUNES):
            self._pruner.done("prune", "--json", "--stale-after", "0s", "--max-unused", "0")
            found = self._pruner.done("prune", "--json", "--dry-run", "--max-unused", "0").json
            wrong = [f"{name}: {found[name]}" for name in ("unused", "open_plan", "sessions") if found[name]]
            wrong += [f"{name}: {found[name]}" for name in ("dead", "orphans", "repack") if found[name]["packs"]]
            if not wrong:
                break
        checked = self._pruner.run("check", "--read-data", "--json")
        if checked.code != 0:
            wrong.append(f"check: {checked.text[:2000]} {checked.stderr}")
        return wrong
