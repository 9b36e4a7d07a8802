"""S3 keeps the contract of storages, on a real SeaweedFS; on `rclone serve s3` all but what that server can not do."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from chunkstore.errors import InvalidArgument, ObjectMissing, StorageUnreachable
from chunkstore.format.kinds import ObjectKind, prefix
from chunkstore.ids import RepositoryId
from chunkstore.operations.init import probe_conditional_writes
from chunkstore.storage import ObjectInfo, Storage, StorageOptions, Waiting, open_storage
from chunkstore.storage.protocol import delete_many, entries, extend_retention, locked_until
from chunkstore.storage.s3 import S3Storage
from chunkstore.storage.s3_client import make_client
from tests.fault_proxy import Rule, Trouble, proxied
from tests.s3_server import Access, Rclone, SeaweedFS
from tests.storage_contract import MIB, StorageContract, World, in_threads, names

DAY_S = 24 * 3600
SLOW_LINE = Path(__file__).parents[2] / "benchmarks/slow_line.py"


def waiting() -> Waiting:
    return Waiting(time.monotonic, time.sleep, Random(1).random, now=time.time)


def opened(access: Access, monkeypatch: pytest.MonkeyPatch, place: str = "", **options: Any) -> Storage:
    """The storage as the command line opens it: keys from the environment."""
    for name, value in access.environment.items():
        assert value is not None
        monkeypatch.setenv(name, value)
    url = f"s3://{access.bucket}/{place}"
    return open_storage(url, create=True, options=StorageOptions(retry_deadline=20, **options), waiting=waiting())


def content_pack(size: int = 500) -> bytes:
    return prefix(ObjectKind.CONTENT_PACK, RepositoryId(bytes(32))) + bytes(size)


def tree_pack(size: int = 500) -> bytes:
    return prefix(ObjectKind.TREE_PACK, RepositoryId(bytes(32))) + bytes(size)


class S3Contract(StorageContract):
    """What both servers do."""

    fillers = 8
    races = 2

    def test_deleting_many(self, world: World) -> None:
        every = [f"packs/{number % 3}/{number}" for number in range(1100)]
        for name in every[::10]:
            world.storage.put(name, b"x")
        world.storage.put("kept", b"x")
        delete_many(world.storage, every)
        assert world.everything() == {"kept": b"x"}
        delete_many(world.storage, [])
        with pytest.raises(InvalidArgument):
            delete_many(world.storage, ["packs//"])

    def test_what_others_keep_in_the_bucket_is_neither_seen_nor_touched(
        self, world: World, access: Access, place: str
    ) -> None:
        client = access.client()
        for key in ("somebody/else", f"{place}UPPER", f"{place}a b/c", f"{place}z/b/c/d/e", "x"):
            client.put_object(Bucket=access.bucket, Key=key, Body=b"foreign")
        world.storage.put("a/b", b"1")
        assert names(world.storage.list("")) == ["a/b"]
        assert names(world.storage.list("a")) == ["a/b"]
        assert sorted(entries(world.storage)) == ["UPPER", "a b/c", "a/b", "z/b/c/d/e"]
        assert "somebody/else" in access.keys()  # noqa: SIM118

    @pytest.fixture
    def place(self) -> str:
        return f"some/{token_hex(8)}/"

    @pytest.fixture
    def world(self, access: Access, place: str, monkeypatch: pytest.MonkeyPatch) -> World:
        return World(opened(access, monkeypatch, place), lambda: access.objects(place))


class TestS3(S3Contract):
    """All of it, on SeaweedFS."""

    @pytest.fixture
    def access(self, seaweed: SeaweedFS) -> Access:
        return seaweed.access()


@pytest.mark.exhaustive
class TestWeakS3(S3Contract):
    """`rclone serve s3`: every conditional write wins, and a directory can not be asked to be deleted."""

    many = 1200

    @pytest.fixture
    def access(self, weak_s3: Rclone) -> Access:
        return weak_s3.make_bucket()

    def test_put_if_absent_never_replaces(self, world: World) -> None:
        pytest.skip("this server ignores conditions; `init` finds that out")

    test_put_if_absent_and_empty_objects = test_put_if_absent_never_replaces
    test_put_if_absent_has_one_winner = test_put_if_absent_never_replaces

    def test_what_is_only_a_directory_is_not_deleted(self, world: World) -> None:
        pytest.skip("this server fails; nobody asks for that")

    def test_readers_never_see_a_torn_object(self, world: World) -> None:
        pytest.skip("this server sends the bytes of one object with the length of the one before")

    def test_conditional_writes_are_seen_to_be_ignored(self, world: World) -> None:
        assert probe_conditional_writes(world.storage, Random(1).randbytes) is False
        assert world.everything() == {}


def test_a_server_without_locks_is_found_out(weak_s3: Rclone, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened(weak_s3.make_bucket(), monkeypatch, retention_days=1)
    with pytest.raises(StorageUnreachable, match="this server has no object lock"):
        storage.put("packs/ab/1", b"1")


# Without a prefix, and in the names of AWS


def test_a_storage_may_be_a_whole_bucket(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    access = seaweed.make_bucket()
    storage = opened(access, monkeypatch)
    assert storage.location == f"s3://{access.bucket}"
    assert list(storage.list("")) == []
    storage.put("packs/ab/1", b"12345")
    storage.put("a", b"1")
    assert names(storage.list("")) == ["a", "packs/ab/1"]
    assert access.objects() == {"a": b"1", "packs/ab/1": b"12345"}


# Checksums


def checksums(access: Access, key: str) -> dict[str, str]:
    answer = access.client().head_object(Bucket=access.bucket, Key=key, ChecksumMode="ENABLED")
    return {name: value for name, value in answer.items() if name.startswith("Checksum")}


def test_uploads_have_a_checksum_that_the_server_keeps(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    access = seaweed.make_bucket()
    storage = opened(access, monkeypatch)
    for name, data in (("a", b""), ("b", b"content"), ("c", Random(1).randbytes(3 * MIB))):
        assert storage.put_if_absent(name, data)
        assert checksums(access, name)["ChecksumSHA256"] == b64encode(sha256(data).digest()).decode()


def put_damaged(access: Access, data: bytes, **options: Any) -> None:
    """A PUT whose body is changed after it was signed."""
    client = access.client()

    def damage(request: Any, **_: Any) -> None:
        if request.method == "PUT":
            body = bytearray(request.body if isinstance(request.body, bytes | bytearray) else request.body.read())
            body[len(body) // 2] ^= 1
            request.body = bytes(body)

    client.meta.events.register("before-send.s3", damage)
    S3Storage(client, access.bucket, "").put("packs/ab/1", data)


def test_a_body_that_was_damaged_on_its_way_is_refused(seaweed: SeaweedFS) -> None:
    access = seaweed.make_bucket()
    with pytest.raises(StorageUnreachable) as caught:
        put_damaged(access, b"content" * 1000)
    assert caught.value.transient
    assert access.keys() == []


def test_a_server_that_knows_no_sha256_gets_an_md5(weak_s3: Rclone) -> None:
    """The first upload of a run shows it; from the second on the server compares."""
    access = weak_s3.make_bucket()
    client = access.client()
    sent: list[bool] = []
    client.meta.events.register("before-send.s3", lambda request, **_: sent.append("Content-MD5" in request.headers))
    storage = S3Storage(client, access.bucket, "")
    storage.put("a", b"1")
    storage.put("b", b"2")
    assert sent == [False, True]


def test_an_answer_that_was_damaged_on_its_way_is_got_again(
    seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a whole object: ranges are checked by who reads them."""
    access = seaweed.make_bucket()
    data = Random(1).randbytes(30_000)
    opened(access, monkeypatch).put("index/run-1", data)
    with proxied(access.endpoint) as proxy:
        proxy.spoil(Rule(Trouble.CORRUPT_ANSWER, "GET", "index/run-1", times=2, at=500))
        storage = opened(dataclasses.replace(access, endpoint=proxy.endpoint), monkeypatch)
        assert storage.get("index/run-1") == data
        assert [each.trouble for each in proxy.passed] == [Trouble.CORRUPT_ANSWER] * 2 + [None]


def test_the_timeout_of_an_upload_does_not_count_for_all_of_it(
    seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow line a pack takes longer than the timeout: only a piece that does not go out is an error."""
    access = seaweed.make_bucket()
    for name, value in access.environment.items():
        monkeypatch.setenv(name, value or "")
    data = Random(2).randbytes(8 * MIB)
    command = [sys.executable, str(SLOW_LINE), access.endpoint.removeprefix("http://"), str(2 * MIB)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as line:
        try:
            assert line.stdout is not None
            endpoint = f"http://127.0.0.1:{int(line.stdout.readline())}"
            client = make_client("s3://slow", StorageOptions(endpoint_url=endpoint), connect_timeout=1)
            began = time.monotonic()
            S3Storage(client, access.bucket, "").put("packs/ab/slow", data)
            assert time.monotonic() - began > 2  # or the test shows nothing
        finally:
            line.kill()
    assert opened(access, monkeypatch).get("packs/ab/slow") == data


# Storage classes and locks


def test_content_packs_go_to_the_colder_class(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    access = seaweed.make_bucket()
    storage = opened(access, monkeypatch, storage_class="STANDARD_IA")
    storage.put("packs/ab/content", content_pack())
    storage.put("packs/ab/tree", tree_pack())
    storage.put("packs/ab/short", b"")
    for name in ("index/run-1", "keys/1", "snapshots/1", "sessions/1"):
        storage.put_if_absent(name, content_pack())
    page = access.client().list_objects_v2(Bucket=access.bucket)
    classes = {each["Key"]: each["StorageClass"] for each in page["Contents"]}
    assert classes.pop("packs/ab/content") == "STANDARD_IA"
    assert set(classes.values()) == {"STANDARD"}
    assert storage.get("packs/ab/content") == content_pack()


def test_what_is_kept_is_locked(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    access = seaweed.make_bucket(object_lock=True)
    storage = opened(access, monkeypatch, retention_days=30)
    before = time.time()
    kept = ("config/1", "keys/1", "recipients/1", "packs/ab/1", "index/run-1", "snapshots/1", "amendments/1")
    for number, name in enumerate(kept):
        if number % 2:
            storage.put(name, b"1")
        else:
            assert storage.put_if_absent(name, b"1")
    for name in kept:
        until = locked_until(storage, name)
        assert until is not None
        assert before + 30 * DAY_S - 2 < until < time.time() + 30 * DAY_S + 2
    for name in ("sessions/1", "prunes/1", "probe-1"):
        storage.put(name, b"1")
        storage.delete(name)
        assert name not in names(storage.list(""))


def test_a_locked_object_can_not_be_deleted(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by anybody: what can be done is to hide it, and that can be undone."""
    access = seaweed.make_bucket(object_lock=True)
    storage, client = opened(access, monkeypatch, retention_days=1), access.client()
    storage.put("packs/ab/1", b"content")
    (version,) = client.list_object_versions(Bucket=access.bucket)["Versions"]
    for bypass in (False, True):
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            client.delete_object(
                Bucket=access.bucket, Key="packs/ab/1", VersionId=version["VersionId"], BypassGovernanceRetention=bypass
            )
    storage.delete("packs/ab/1")
    with pytest.raises(ObjectMissing):
        storage.get("packs/ab/1")
    (marker,) = client.list_object_versions(Bucket=access.bucket)["DeleteMarkers"]
    client.delete_object(Bucket=access.bucket, Key="packs/ab/1", VersionId=marker["VersionId"])
    assert storage.get("packs/ab/1") == b"content"


def test_locks_can_be_extended_and_never_shortened(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    access = seaweed.make_bucket(object_lock=True)
    storage = opened(access, monkeypatch)
    storage.put("packs/ab/1", b"1")
    assert locked_until(storage, "packs/ab/1") is None
    soon, later = float(int(time.time()) + DAY_S), float(int(time.time()) + 9 * DAY_S)
    for until, expected in ((soon, soon), (later, later), (soon, later)):
        extend_retention(storage, "packs/ab/1", until)
        assert locked_until(storage, "packs/ab/1") == expected
    for action in (lambda: locked_until(storage, "packs/ab/2"), lambda: extend_retention(storage, "packs/ab/2", soon)):
        with pytest.raises(ObjectMissing):
            action()


def test_a_bucket_without_object_lock(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    access = seaweed.make_bucket()
    storage = opened(access, monkeypatch, retention_days=30)
    storage.put("sessions/1", b"1")
    for action in (
        lambda: storage.put("packs/ab/1", b"1"),
        lambda: storage.put_if_absent("snapshots/1", b"1"),
        lambda: extend_retention(storage, "sessions/1", time.time() + DAY_S),
    ):
        with pytest.raises(StorageUnreachable, match="a retention needs a bucket that was made with object lock"):
            action()
    assert locked_until(storage, "sessions/1") is None


# One client and many threads


def test_limits_are_kept_on_the_way_to_a_server(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only this test moves: of what is moved, one second's worth is free."""
    access, now = seaweed.access(), [0.0]
    for name, value in access.environment.items():
        monkeypatch.setenv(name, value or "")

    def sleep(seconds: float) -> None:
        now[0] += seconds

    options = StorageOptions(limit_upload=MIB, limit_download=MIB // 2)
    clock = Waiting(lambda: now[0], sleep, lambda: 0.5)
    storage = open_storage(f"s3://{access.bucket}/{token_hex(6)}", options=options, waiting=clock)
    data = Random(5).randbytes(3 * MIB)
    for name in ("packs/1", "packs/2"):
        storage.put(name, data)
    assert 5 <= now[0] <= 6
    now[0] = 100
    assert [storage.get("packs/1"), storage.get("packs/2", 5, 2 * MIB)] == [data, data[5 : 2 * MIB + 5]]
    assert 109 <= now[0] <= 110


def test_threads_share_one_client(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened(seaweed.make_bucket(), monkeypatch, connections=2)

    def work(number: int) -> None:
        for turn in range(5):
            name = f"packs/{number}/{turn}"
            storage.put(name, name.encode())
            assert storage.get(name, 1) == name.encode()[1:]
            assert storage.stat(name) == ObjectInfo(name, len(name))

    in_threads([lambda number=number: work(number) for number in range(24)])  # type: ignore[misc]
    assert len(names(storage.list(""))) == 120


# A lost answer


def test_an_answer_that_was_lost_is_recognised(seaweed: SeaweedFS) -> None:
    """botocore tries again by itself, and is told that the object is there: it is our own."""
    access = seaweed.make_bucket()
    other = access.client()
    for foreign in (False, True):
        client, name = access.client(), f"snapshots/{int(foreign)}"
        lost = []

        def lose(
            request: Any, client: Any = client, name: str = name, foreign: bool = foreign, lost: Any = lost
        ) -> None:
            if request.method == "PUT" and not lost:
                lost.append(True)
                other.put_object(Bucket=access.bucket, Key=name, Body=b"another" if foreign else b"ours")
                raise ConnectionClosedError(endpoint_url=access.endpoint)

        client.meta.events.register("before-send.s3", lambda request, lose=lose, **_: lose(request))
        storage = S3Storage(client, access.bucket, "")
        assert storage.put_if_absent(name, b"ours") is not foreign
        assert lost
        assert storage.put_if_absent(name, b"ours") is False
