"""The command with repositories in S3: on a real SeaweedFS, with few rights, with locks, on a weak server, and in trouble."""

from __future__ import annotations

import dataclasses
import http.server
import ipaddress
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.command import Machine, Result, finish
from tests.conftest import SMALL_CHUNKS, Keys
from tests.s3_server import Access, Rclone, SeaweedFS, seaweedfs
from tests.trees import look, noise, plant

FAILED, USAGE, NO_REPOSITORY, UNREACHABLE = 1, 2, 10, 11
APPEND_ONLY = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")


class CloudMachine(Machine):
    """A machine whose repository is in a bucket; everything else about it is as with others."""

    def __init__(self, root: Path, gnupg: Any, access: Access, place: str) -> None:
        super().__init__(root, gnupg)
        self.access = access
        self.place = place

    @property
    def url(self) -> str:
        return f"s3://{self.access.bucket}/{self.place}"

    def environment(self, **changes: str | None) -> dict[str, str]:
        return super().environment(**{"CHUNKSTORE_REPOSITORY": self.url, **self.access.environment, **changes})

    def as_user(self, access: Access) -> CloudMachine:
        """The same machine with other keys for S3."""
        return CloudMachine(self.root, self.gnupg, access, self.place)

    def with_keys(self, gnupg: Any) -> CloudMachine:
        """The same machine with another keyring."""
        return CloudMachine(self.root, gnupg, self.access, self.place)

    def init(self, mail: str, *options: str) -> Result:
        return self.run("init", "--encrypt-to", mail, "--chunker", SMALL_CHUNKS, "--pack-size", "1M", *options)

    def stored(self, prefix: str = "") -> list[str]:
        """The names of the stored objects."""
        skipped = len(self.place)
        return [key[skipped:] for key in self.access.keys(f"{self.place}{prefix}")]


def place() -> str:
    return f"{token_hex(6)}/"


@pytest.fixture
def cloud(seaweed: SeaweedFS, keys: Keys, tmp_path: Path) -> CloudMachine:
    """A machine with all rights for a place in a bucket where nothing is yet."""
    return CloudMachine(tmp_path / "machine", keys.public, seaweed.access(), place())


@pytest.fixture
def client(cloud: CloudMachine, keys: Keys) -> CloudMachine:
    """The client of an empty repository."""
    result = cloud.init(keys.mail)
    assert (result.code, result.stderr) == (0, ""), result
    return cloud


def refused(result: Result, code: int, *said: str) -> None:
    """The command ended with this code, and one line that says these things."""
    assert result.code == code, result
    assert result.stdout == b""
    lines = [line for line in result.stderr.splitlines() if "trying again" not in line]
    assert len(lines) == 1, result.stderr
    for each in said:
        assert each in lines[0], lines[0]
    assert "Traceback" not in result.stderr


# -- what it is for


def test_a_repository_in_a_bucket(cloud: CloudMachine, keys: Keys, source: Path, tmp_path: Path) -> None:
    made = cloud.init(keys.mail, "--json")
    assert (made.code, made.stderr, made.json["conditional_writes"]) == (0, "", True)
    assert made.json["repository"] == cloud.url.rstrip("/")
    first = cloud.snapshot(source)
    seen = look(source)
    plant(source, {b"new": noise(50_000, 7)})
    second = cloud.snapshot(source)
    assert [each["id"] for each in cloud.done("snapshots", "--json").json["snapshots"]] == [first, second]
    owner = cloud.with_keys(keys.private)
    cloud.forget_cache()
    assert look(owner.restore(first, tmp_path / "first")) == seen
    assert look(owner.restore("latest", tmp_path / "second")) == look(source)
    owner.done("verify", "latest")
    kinds = {name.split("/")[0] for name in cloud.stored()}
    assert kinds == {"config", "keys", "recipients", "packs", "index", "snapshots"}


def test_init_says_how_to_come_to_the_same_place_again(cloud: CloudMachine, seaweed: SeaweedFS, keys: Keys) -> None:
    """Without what was only said for this run, and without a password that somebody wrote into a URL."""
    said = ("--endpoint-url", seaweed.endpoint, "--region", "us-east-1", "--connections", "2")
    assert _next(cloud.init(keys.mail, *said)) == f"chunkstore --endpoint-url {seaweed.endpoint} --region us-east-1"
    url = f"s3://{cloud.access.bucket}/{place().rstrip('/')}"
    host = seaweed.endpoint.removeprefix("http://")
    said = ("-r", url, "--endpoint-url", f"http://joe:hunter2@{host}", "--no-verify-ssl")
    again = _next(cloud.init(keys.mail, *said))
    assert again == f"chunkstore -r {url} --endpoint-url http://{host} --no-verify-ssl"
    at_the_url = {"CHUNKSTORE_REPOSITORY": None, "AWS_ENDPOINT_URL": None}
    listed = cloud.run(*shlex.split(again)[1:], "snapshots", "--json", environment=at_the_url)
    assert (listed.code, listed.json["snapshots"]) == (0, [])


def _next(made: Result) -> str:
    """The command that init says comes next, without what it is to do."""
    assert made.code == 0, made.stderr
    (line,) = [line for line in made.stdout.decode().splitlines() if line.startswith("Next: ")]
    return line.removeprefix("Next: ").removesuffix(" snapshot PATH")


def test_another_machine_joins(client: CloudMachine, keys: Keys, source: Path, tmp_path: Path) -> None:
    first = client.snapshot(source)
    other = CloudMachine(tmp_path / "other", keys.private, client.access, client.place)
    shown = other.run("join", "--fingerprint", _fingerprint(client))
    assert (shown.code, shown.stderr) == (0, ""), shown
    assert look(other.restore(first, tmp_path / "out")) == look(source)


def _fingerprint(machine: CloudMachine) -> str:
    (directory,) = [path for path in (machine.state / "chunkstore").iterdir() if path.is_dir()]
    return directory.name


# -- few rights


def test_who_may_only_add_can_make_snapshots(
    client: CloudMachine, seaweed: SeaweedFS, keys: Keys, source: Path, tmp_path: Path
) -> None:
    user = client.as_user(seaweed.make_user(client.access.bucket, *APPEND_ONLY))
    first = user.snapshot(source)
    seen = look(source)
    plant(source, {b"new": noise(300_000, 7)})
    second = user.snapshot(source)
    assert [each["id"] for each in user.done("snapshots", "--json").json["snapshots"]] == [first, second]
    assert client.stored("sessions/") == [f"sessions/{each}" for each in sorted((first, second))]
    s3 = user.access.client()
    for name in client.stored():
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=user.access.bucket, Key=f"{user.place}{name}")
    owner = user.with_keys(keys.private)
    assert look(owner.restore(first, tmp_path / "first")) == seen
    assert look(owner.restore(second, tmp_path / "second")) == look(source)


def test_who_may_only_add_can_make_a_repository(cloud: CloudMachine, seaweed: SeaweedFS, keys: Keys) -> None:
    user = cloud.as_user(seaweed.make_user(cloud.access.bucket, *APPEND_ONLY))
    made = user.init(keys.mail, "--json")
    assert (made.code, made.stderr, made.json["conditional_writes"]) == (0, "", True)
    assert user.done("snapshots", "--json").json["snapshots"] == []


def test_rights_for_one_prefix_are_enough(
    client: CloudMachine, seaweed: SeaweedFS, keys: Keys, source: Path, tmp_path: Path
) -> None:
    """The policy of docs/s3.md."""
    bucket = client.access.bucket
    mine = client.place.rstrip("/")
    statements = [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/{mine}/*"],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": [f"{mine}/*"]}},
        },
    ]
    user = client.as_user(seaweed.make_user_with(bucket, {"Version": "2012-10-17", "Statement": statements}))
    user.snapshot(source)
    assert look(user.with_keys(keys.private).restore("latest", tmp_path / "out")) == look(source)
    refused(user.run("-r", f"s3://{bucket}/elsewhere", "snapshots"), UNREACHABLE, "access denied", "s3:ListBucket")


def test_no_rights(client: CloudMachine, seaweed: SeaweedFS, source: Path) -> None:
    bucket = client.access.bucket
    for rights, lacking in (
        (("s3:GetObject", "s3:ListBucket"), "s3:PutObject"),
        (("s3:GetObject", "s3:PutObject"), "s3:ListBucket"),
        (("s3:ListBucket", "s3:PutObject"), "s3:GetObject"),
    ):
        user = client.as_user(seaweed.make_user(bucket, *rights))
        refused(user.run("snapshot", source), UNREACHABLE, "access denied", lacking, bucket)


# -- locks


def test_with_a_retention_nothing_can_be_deleted(seaweed: SeaweedFS, keys: Keys, source: Path, tmp_path: Path) -> None:
    access = seaweed.make_bucket(object_lock=True)
    machine = CloudMachine(tmp_path / "machine", keys.public, access, "mine/")
    made = machine.init(keys.mail, "--retention", "2d")
    assert (made.code, made.stderr) == (0, "")
    machine.done("snapshot", "--retention", "2d", source)
    s3 = access.client()
    versions = s3.list_object_versions(Bucket=access.bucket)["Versions"]
    locked = [each for each in versions if each["Key"].split("/")[1] not in ("sessions", f"probe-{each['Key'][-32:]}")]
    assert {each["Key"].split("/")[1] for each in locked} >= {"config", "keys", "packs", "index", "snapshots"}
    for each in locked:
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=access.bucket, Key=each["Key"], VersionId=each["VersionId"])
    assert look(machine.with_keys(keys.private).restore("latest", tmp_path / "out")) == look(source)


def test_a_retention_needs_object_lock(cloud: CloudMachine, keys: Keys) -> None:
    refused(
        cloud.init(keys.mail, "--retention", "30d"), UNREACHABLE, "made with object lock", "leave the retention out"
    )
    assert cloud.stored("config/") == []


def test_content_goes_to_a_colder_class(client: CloudMachine, source: Path) -> None:
    client.done("snapshot", "--storage-class", "STANDARD_IA", source)
    page = client.access.client().list_objects_v2(Bucket=client.access.bucket, Prefix=client.place)
    cold = [each["Key"] for each in page["Contents"] if each["StorageClass"] == "STANDARD_IA"]
    packs = client.stored("packs/")
    assert 0 < len(cold) < len(packs)
    assert all(key.startswith(f"{client.place}packs/") for key in cold)


# -- a weak server


def test_a_weak_server_works_and_init_says_what_is_not_guaranteed(
    weak_s3: Rclone, keys: Keys, source: Path, tmp_path: Path
) -> None:
    machine = CloudMachine(tmp_path / "machine", keys.public, weak_s3.make_bucket(), "mine/")
    made = machine.init(keys.mail, "--json")
    assert (made.code, made.json["conditional_writes"]) == (0, False)
    assert "ignores conditions on writes" in made.stderr
    assert len(made.stderr.splitlines()) == 1
    first = machine.snapshot(source)
    seen = look(source)
    plant(source, {b"new": noise(50_000, 7)})
    second = machine.snapshot(source)
    owner = machine.with_keys(keys.private)
    assert look(owner.restore(first, tmp_path / "first")) == seen
    assert look(owner.restore(second, tmp_path / "second")) == look(source)
    owner.done("verify", "latest")


# -- trouble


def test_wrong_keys(client: CloudMachine, source: Path) -> None:
    for field, said in (("access_key", "AWS_ACCESS_KEY_ID"), ("secret_key", "AWS_SECRET_ACCESS_KEY")):
        wrong = "wrong" + token_hex(8)
        other = client.as_user(dataclasses.replace(client.access, **{field: wrong}))
        for command in (("snapshot", source), ("snapshots",), ("restore", "latest", client.root / "out")):
            result = other.run(*command)
            refused(result, UNREACHABLE, said, client.url.rstrip("/"))
            assert wrong not in result.stderr
            assert client.access.secret_key not in result.stderr


def test_no_keys(client: CloudMachine) -> None:
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    refused(client.run("snapshots", environment=none), UNREACHABLE, "no credentials", "AWS_ACCESS_KEY_ID")
    half = {"AWS_SECRET_ACCESS_KEY": None}
    refused(client.run("snapshots", environment=half), UNREACHABLE, "no credentials")
    refused(client.run("snapshots", "--profile", "nobody"), USAGE, "nobody")


def test_no_such_bucket(client: CloudMachine, keys: Keys, source: Path) -> None:
    other = client.as_user(dataclasses.replace(client.access, bucket="no-such-bucket"))
    for result in (other.run("snapshot", source), other.run("snapshots"), other.init(keys.mail)):
        refused(result, UNREACHABLE, "there is no bucket no-such-bucket", "chunkstore makes none")


def test_nothing_at_this_place_or_something_else(cloud: CloudMachine, keys: Keys, source: Path) -> None:
    refused(cloud.run("snapshot", source), NO_REPOSITORY, f"there is no repository at {cloud.url.rstrip('/')}")
    cloud.access.client().put_object(Bucket=cloud.access.bucket, Key=f"{cloud.place}photos/a.jpg", Body=b"x")
    refused(cloud.run("snapshot", source), NO_REPOSITORY, "there is no repository")
    refused(cloud.init(keys.mail), FAILED, "is not empty", "photos/a.jpg")


def test_what_can_be_no_object_of_ours_is_seen_by_init_too(cloud: CloudMachine, keys: Keys) -> None:
    s3, key = cloud.access.client(), f"{cloud.place}photos/IMG 1.JPG"
    s3.put_object(Bucket=cloud.access.bucket, Key=key, Body=b"x")
    refused(cloud.init(keys.mail), FAILED, "is not empty: it holds photos/IMG 1.JPG.")
    refused(cloud.run("snapshots"), NO_REPOSITORY, "there is no repository")
    s3.delete_object(Bucket=cloud.access.bucket, Key=key)
    s3.put_object(Bucket=cloud.access.bucket, Key=cloud.place, Body=b"")  # the web pages of servers make directories so
    assert cloud.init(keys.mail).code == 0


def test_two_inits(client: CloudMachine, keys: Keys) -> None:
    refused(client.init(keys.mail), FAILED, "there is a repository at", "already")


@pytest.fixture
def wrong_clock(tmp_path: Path) -> str:
    """A directory for PYTHONPATH: what is signed is signed for twenty minutes from now."""
    path = tmp_path / "clock"
    path.mkdir()
    (path / "sitecustomize.py").write_text(
        "import datetime, botocore.compat as compat, botocore.auth as auth\n"
        "real = compat.get_current_datetime\n"
        "def shifted(*a, **k):\n    return real(*a, **k) + datetime.timedelta(minutes=20)\n"
        "auth.get_current_datetime = shifted\n"
    )
    return str(path)


def test_a_wrong_clock(client: CloudMachine, wrong_clock: str) -> None:
    refused(client.run("snapshots", environment={"PYTHONPATH": wrong_clock}), UNREACHABLE, "clock", "NTP")


def test_a_host_that_can_not_be_reached(client: CloudMachine) -> None:
    """It is tried for half a minute; then one message says what happened, and for how long it was tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        running = {
            said: client.start("snapshots", "--endpoint-url", endpoint)
            for endpoint, said in (
                (f"http://127.0.0.1:{port}", "Connection refused"),
                ("http://no-such.invalid", "name"),
            )
        }
        for said, process in running.items():
            result = finish(process)
            refused(result, UNREACHABLE, "can not be reached", "tried")
            assert said.lower() in result.stderr.lower()
            assert "trying again" in result.stderr


class _Website(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<html><body>Welcome to our website</body></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[int, int, Path]]:
    """The ports of something that is no S3 server, without and with TLS, and its own certificate."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(_self_signed())
    plain, secure = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Website) for _ in range(2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    for server in (plain, secure):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield plain.server_address[1], secure.server_address[1], certificate
    finally:
        for server in (plain, secure):
            server.shutdown()
            server.server_close()


def _self_signed() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + certificate.public_bytes(serialization.Encoding.PEM)


def test_something_else_listens_there(client: CloudMachine, website: tuple[int, int, Path]) -> None:
    plain, secure, certificate = website
    address = f"https://127.0.0.1:{secure}"
    for options, said in (
        ((f"http://127.0.0.1:{plain}",), "does not answer as an S3 server does"),
        ((f"https://127.0.0.1:{plain}",), "it speaks plain HTTP"),
        ((address,), "its certificate is not trusted"),
        ((address, "--ca-bundle", str(certificate)), "does not answer as an S3 server does"),
        ((address, "--no-verify-ssl"), "does not answer as an S3 server does"),
    ):
        refused(client.run("snapshots", "--endpoint-url", *options), UNREACHABLE, said)


def test_addresses_that_can_not_be(client: CloudMachine) -> None:
    for endpoint in ("not a url", "ftp://host", "http://"):
        result = client.run("snapshots", "--endpoint-url", endpoint)
        assert result.code in (USAGE, UNREACHABLE), result
        assert "internal error" not in result.stderr
        assert "Traceback" not in result.stderr
        assert len(result.stderr.splitlines()) == 1, result


# -- a server that dies


def test_a_server_that_is_killed_in_the_midst_of_a_snapshot_and_comes_back(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    plant(source, {f"{number}".encode(): noise(1_500_000, number) for number in range(16)})
    with seaweedfs() as server:
        machine = CloudMachine(tmp_path / "machine", keys.public, server.access(), "mine/")
        assert machine.init(keys.mail).code == 0
        plant(tmp_path / "before", {b"a": noise(100_000, 99)})
        before = machine.snapshot(tmp_path / "before")
        packs = len(machine.stored("packs/"))
        running = machine.start("snapshot", "--limit-upload", "6M", source)
        deadline = time.monotonic() + 60
        while len(machine.stored("packs/")) < packs + 3:
            assert running.poll() is None, finish(running)
            assert time.monotonic() < deadline
        server.kill()
        time.sleep(1)
        server.start()
        result = finish(running)
        assert result.code == 0, result
        assert "trying again" in result.stderr
        owner = machine.with_keys(keys.private)
        machine.forget_cache()
        assert look(owner.restore("latest", tmp_path / "out")) == look(source)
        assert look(owner.restore(before, tmp_path / "out-before")) == look(tmp_path / "before")
        owner.done("verify", "latest")
