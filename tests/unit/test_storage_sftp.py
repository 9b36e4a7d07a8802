"""The contract on a real sshd and on a server that offers nothing beyond version 3; and what is particular to SFTP."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("paramiko")

from chunkstore.errors import InvalidArgument, ObjectMissing, StorageFull, StorageUnreachable
from chunkstore.operations.init import probe_conditional_writes
from chunkstore.storage import ObjectInfo, open_storage
from chunkstore.storage.options import StorageOptions, Waiting
from chunkstore.storage.sftp import SftpStorage, parse
from chunkstore.storage.sftp_session import FSYNC, HARDLINK, POSIX_RENAME, STATVFS
from chunkstore.storage.ssh_options import SshOptions
from tests.plain_sftp_server import Files, ReplacingFiles, plain_sftp_server
from tests.ssh_server import SshServer, ssh_server
from tests.storage_contract import StorageContract, World, names

MIB = 1024 * 1024
NO_WAITING = Waiting(lambda: 0.0, lambda seconds: None, lambda: 0.0)


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def opened(url: str, options: SshOptions, *, connections: int = 4, create: bool = True) -> SftpStorage:
    target, path = parse(url.removeprefix("sftp://"), options)
    return SftpStorage.connecting(target, path, options, connections=connections, create=create)


@pytest.fixture
def open_on(sshd: SshServer, tmp_path: Path) -> Iterator[Callable[..., SftpStorage]]:
    """Opens paths on the server; what was opened is closed at the end."""
    options = sshd.options(sshd.home(tmp_path / "home"))
    storages: list[SftpStorage] = []

    def open_path(path: Path, **arguments: object) -> SftpStorage:
        storages.append(opened(sshd.url(path), options, **arguments))  # type: ignore[arg-type]
        return storages[-1]

    yield open_path
    for storage in storages:
        storage.close()


@pytest.fixture
def storage(open_on: Callable[..., SftpStorage], tmp_path: Path) -> SftpStorage:
    return open_on(tmp_path / "store")


class TestSftpStorage(StorageContract):
    many = 300  # each is flushed; a long listing is below

    @pytest.fixture
    def world(self, open_on: Callable[..., SftpStorage], tmp_path: Path) -> World:
        root = tmp_path / "not" / "there" / "yet"
        return World(open_on(root), lambda: files_below(root))


@pytest.mark.exhaustive
class TestOneConnection(StorageContract):
    many = 300

    @pytest.fixture
    def world(self, open_on: Callable[..., SftpStorage], tmp_path: Path) -> World:
        (tmp_path / "store").mkdir()
        return World(open_on(tmp_path / "store", connections=1, create=False), lambda: files_below(tmp_path / "store"))


@pytest.mark.exhaustive
class TestServerWithoutExtensions(StorageContract):
    many = 300

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        with plain_sftp_server(tmp_path / "server", Files) as (port, known):
            storage = opened(f"sftp://me@127.0.0.1:{port}{tmp_path}/store", plain_options(tmp_path, known))
            yield World(storage, lambda: files_below(tmp_path / "store"))
            storage.close()

    def test_readers_never_see_a_torn_object(self, world: World) -> None:
        pytest.skip("without posix-rename there is no object for a moment when one is replaced; docs/sftp.md says so")


def plain_options(folder: Path, known: str) -> SshOptions:
    ssh = folder / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "known_hosts").write_text(known)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / "id_ed25519"], check=True)
    return SshOptions(str(folder / "home"), "me", system_files=False)


# Publishing


def test_openssh_offers_what_is_used(storage: SftpStorage) -> None:
    with storage._pool.session() as session:
        assert {FSYNC, HARDLINK, POSIX_RENAME, STATVFS} <= session.extensions
        assert session.transfer > 32 * 1024


def test_init_finds_conditional_writes(storage: SftpStorage) -> None:
    assert probe_conditional_writes(storage, os.urandom) is True


def test_init_finds_out_that_a_server_renames_over_what_is_there(tmp_path: Path) -> None:
    with plain_sftp_server(tmp_path / "server", ReplacingFiles) as (port, known):
        storage = opened(f"sftp://me@127.0.0.1:{port}{tmp_path}/store", plain_options(tmp_path, known))
        assert probe_conditional_writes(storage, os.urandom) is False
        storage.close()


def test_modes_and_places(storage: SftpStorage, tmp_path: Path) -> None:
    storage.put("packs/ab/1", b"1")
    storage.put_if_absent("packs/ab/2", b"2")
    root = tmp_path / "store"
    assert [path.stat().st_mode & 0o777 for path in (root, root / "packs", root / "packs/ab", root / ".tmp")] == [
        0o700
    ] * 4
    assert [(root / "packs/ab" / name).stat().st_mode & 0o777 for name in "12"] == [0o600] * 2
    assert [(root / "packs/ab" / name).stat().st_nlink for name in "12"] == [1, 1]
    assert os.listdir(root / ".tmp") == []


def test_what_stands_in_the_way(storage: SftpStorage, tmp_path: Path) -> None:
    storage.put("a", b"a file")
    storage.put("d/b", b"in a directory")
    with pytest.raises(StorageUnreachable, match="store/a: not a directory"):
        storage.put("a/b", b"")
    with pytest.raises(StorageUnreachable, match="store/d: Failure"):
        storage.put("d", b"")
    assert files_below(tmp_path / "store") == {"a": b"a file", "d/b": b"in a directory"}


def test_directories_that_somebody_removed_are_made_again(storage: SftpStorage, tmp_path: Path) -> None:
    storage.put("packs/ab/1", b"1")
    storage.delete("packs/ab/1")
    (tmp_path / "store/packs/ab").rmdir()
    (tmp_path / "store/.tmp").rmdir()
    storage.put("packs/ab/1", b"2")
    assert storage.get("packs/ab/1") == b"2"


def test_a_missing_root_is_not_an_empty_storage(open_on: Callable[..., SftpStorage], tmp_path: Path) -> None:
    storage = open_on(tmp_path / "unmounted", create=False)
    for action in (
        lambda: storage.put("a", b""),
        lambda: storage.put_if_absent("a/b", b""),
        lambda: storage.get("a"),
        lambda: storage.stat("a/b"),
        lambda: storage.delete("a"),
        lambda: list(storage.list("")),
        lambda: list(storage.list("packs/")),
        storage.entries,
    ):
        with pytest.raises(StorageUnreachable, match="unmounted: there is no such directory") as caught:
            action()
        assert not caught.value.transient
    assert not (tmp_path / "unmounted").exists()


def test_a_root_that_is_a_file(open_on: Callable[..., SftpStorage], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    for storage in (open_on(tmp_path / "file"), open_on(tmp_path / "file", create=False)):
        for action in (
            lambda storage=storage: storage.put("a", b""),
            lambda storage=storage: storage.get("a"),
            lambda storage=storage: storage.stat("a"),
            lambda storage=storage: storage.delete("a"),
            lambda storage=storage: list(storage.list("packs/")),
        ):
            with pytest.raises(StorageUnreachable, match="file: not a directory"):
                action()
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_full_disk_is_told_from_other_failures(open_on: Callable[..., SftpStorage], tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "chunkstore-test", str(root)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("can not mount a tmpfs: needs root on Linux")
    try:
        storage = open_on(root)
        storage.put("a", b"small")
        for put in (storage.put, storage.put_if_absent):
            with pytest.raises(StorageFull, match=r"packs/1: .*bytes are free there: make room"):
                put("packs/1", bytes(4 * MIB))
        assert files_below(root) == {"a": b"small"}
        storage.put("b", bytes(100_000))
    finally:
        subprocess.run(["umount", str(root)], check=True)


# Listing


def test_a_long_listing(storage: SftpStorage, tmp_path: Path) -> None:
    expected = []
    for number in range(3500):
        name = f"packs/{number % 256:02x}/{number:064x}"
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number % 5))
        expected.append(ObjectInfo(name, number % 5))
    assert list(storage.list("packs/")) == sorted(expected, key=lambda info: info.name)
    assert list(storage.list("")) == sorted(expected, key=lambda info: info.name)
    assert len(list(storage.list("packs/0"))) == 16 * 14


def test_a_directory_of_many(storage: SftpStorage, tmp_path: Path) -> None:
    (tmp_path / "store/index").mkdir(parents=True)
    for number in range(3100):
        (tmp_path / f"store/index/{number}").touch()
    assert names(storage.list("index/")) == sorted(f"index/{number}" for number in range(3100))


def test_temporary_and_foreign_files_are_not_listed(storage: SftpStorage, tmp_path: Path) -> None:
    root = tmp_path / "store"
    storage.put("packs/ab/1", b"1")
    for foreign in (
        ".tmp/0123",
        "packs/.hidden",
        "packs/ab/UPPER",
        "packs/ab/a b",
        "lost+found/x",
        "a/b/c/d/e",
        "\udcff",
    ):
        (root / foreign).parent.mkdir(parents=True, exist_ok=True)
        (root / foreign).write_bytes(b"foreign")
    (root / "packs/ab/dangling").symlink_to("nothing")
    os.mkfifo(root / "packs/ab/fifo")
    assert names(storage.list("")) == ["packs/ab/1"]
    assert names(storage.list("packs/ab/")) == ["packs/ab/1"]
    assert sorted(storage.entries()) == ["a/", "lost+found/", "packs/", "\udcff"]


def test_symbolic_links_are_followed(storage: SftpStorage, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/packs").symlink_to(tmp_path / "large")
    storage.put("packs/ab/1", b"1")
    assert list(storage.list("packs/")) == [ObjectInfo("packs/ab/1", 1)]


def test_many_are_deleted_together(storage: SftpStorage, tmp_path: Path) -> None:
    every = [f"packs/{number % 3}/{number}" for number in range(600)]
    for name in every:
        (tmp_path / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / name).touch()
    storage.put("kept", b"")
    storage.delete_many([*every, "never/there", "packs"])
    assert names(storage.list("")) == ["kept"]
    with pytest.raises(InvalidArgument):
        storage.delete_many(["kept", "../kept"])
    assert names(storage.list("")) == ["kept"]


# Connections


def test_no_more_connections_than_asked_for(tmp_path: Path) -> None:
    with ssh_server(tmp_path / "server") as server:
        storage = opened(server.url(tmp_path / "store"), server.options(server.home(tmp_path / "home")), connections=2)
        threads = [threading.Thread(target=storage.put, args=(f"a/{number}", bytes(MIB))) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.log.count("Accepted publickey") <= 2
        assert len(list(storage.list(""))) == 8
        storage.close()


def test_a_connection_that_broke_is_made_again(tmp_path: Path) -> None:
    with ssh_server(tmp_path / "server") as server:
        storage = opened(server.url(tmp_path / "store"), server.options(server.home(tmp_path / "home")))
        storage.put("a", b"1")
        assert server.signal_sessions() > 0
        with pytest.raises(StorageUnreachable, match="the connection broke") as caught:
            storage.get("a")
        assert caught.value.transient
        assert storage.get("a") == b"1"
        storage.close()


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    with ssh_server(tmp_path / "server") as server:
        storage = opened(server.url(tmp_path / "store"), server.options(server.home(tmp_path / "home")))
        storage.put("a", b"1")
    for _ in range(2):
        with pytest.raises(StorageUnreachable) as caught:
            storage.get("a")
        assert caught.value.transient
    assert "Connection refused" in str(caught.value)
    with ssh_server(tmp_path / "server", port=server.port):
        assert storage.get("a") == b"1"
        storage.close()


def test_a_server_that_stops_answering(tmp_path: Path) -> None:
    with ssh_server(tmp_path / "server") as server:
        options = replace(server.options(server.home(tmp_path / "home")), answer_timeout=1, connect_timeout=1)
        storage = opened(server.url(tmp_path / "store"), options)
        storage.put("a", b"1")
        server.signal_sessions(signal.SIGSTOP)
        server.process.send_signal(signal.SIGSTOP)
        for action, said in (
            (lambda: storage.put("b", bytes(32 * MIB)), "the connection broke"),
            (lambda: storage.get("a"), "SSH can not begin"),
        ):
            with pytest.raises(StorageUnreachable, match=said) as caught:
                action()
            assert caught.value.transient
        storage.close()
        server.process.send_signal(signal.SIGCONT)
        server.signal_sessions(signal.SIGCONT)
        patient = opened(server.url(tmp_path / "store"), server.options(tmp_path / "home"))
        assert patient.get("a") == b"1"
        patient.close()


DAY = 86400


def litter(root: Path, name: str, age: float) -> Path:
    """A file that a client left in the directory for temporary files, so many seconds ago."""
    path = root / ".tmp" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half of an obj")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_next_writer_sweeps_out_what_killed_clients_left(storage: SftpStorage, tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    old, young = litter(root, "a" * 32, 1.1 * DAY), litter(root, "b" * 32, 0.9 * DAY)
    foreign = litter(root, "notes.txt", 100 * DAY)
    assert list(storage.list("")) == []
    with pytest.raises(ObjectMissing):
        storage.get("a")
    assert old.exists(), "readers leave all as it is"
    storage.put("a", b"1")
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()
    old = litter(root, "a" * 32, 2 * DAY)
    storage.put_if_absent("b", b"2")
    assert old.exists(), "once is enough"


def test_files_of_others_behind_a_link_are_not_swept(storage: SftpStorage, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/.tmp").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "store/.tmp").symlink_to(tmp_path / "elsewhere/.tmp")
    old = litter(tmp_path / "elsewhere", "a" * 32, 2 * DAY)
    storage.put("a", b"1")
    assert storage.get("a") == b"1"
    assert old.exists()


def test_temporary_files_of_a_broken_connection_are_removed_by_the_next(tmp_path: Path) -> None:
    with ssh_server(tmp_path / "server") as server:
        storage = opened(server.url(tmp_path / "store"), server.options(server.home(tmp_path / "home")))
        storage.put("a", b"1")
        kill = threading.Timer(0.15, server.signal_sessions)
        kill.start()

        def put_for_ever() -> None:
            while True:
                storage.put("big", bytes(32 * MIB))

        with pytest.raises(StorageUnreachable):
            put_for_ever()
        kill.join()
        storage.put("a", b"2")
        assert os.listdir(tmp_path / "store/.tmp") == []
        storage.close()


def test_as_an_ordinary_user() -> None:
    """Only needed where the tests run as root: else all of them do this."""
    if os.geteuid() != 0:
        pytest.skip("the other tests do")
    account = pwd.getpwnam("daemon")
    with tempfile.TemporaryDirectory(prefix="chunkstore-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "theirs").mkdir()
        os.chown(folder / "theirs", account.pw_uid, -1)
        (folder / "ours").mkdir(mode=0o700)
        with ssh_server(folder / "server", as_user="daemon") as server:
            options = server.options(server.home(folder / "home"))
            storage = opened(server.url(folder / "theirs/store"), options)
            assert storage.put_if_absent("packs/ab/1", b"1") is True
            assert storage.put_if_absent("packs/ab/1", b"2") is False
            assert list(storage.list("")) == [ObjectInfo("packs/ab/1", 1)]
            assert (folder / "theirs/store/packs/ab/1").stat().st_uid == account.pw_uid
            storage.close()
            refused = opened(server.url(folder / "ours/store"), options)
            for action in (lambda: refused.put("a", b""), lambda: refused.get("a"), lambda: list(refused.list(""))):
                with pytest.raises(StorageUnreachable, match=r"ours/store.*: Permission denied") as caught:
                    action()
                assert not caught.value.transient
            refused.close()


# Places


def test_paths_below_the_home_directory(sshd: SshServer, tmp_path: Path) -> None:
    options = sshd.options(sshd.home(tmp_path / "home"))
    for path, root in (
        ("/~/a/b", b"a/b"),
        ("/~", b"."),
        ("/~/", b"."),
        ("/a%20b/", b"/a b"),
        ("/", b"/"),
        ("/%ff", b"/\xff"),
    ):
        storage = opened(f"sftp://nas{path}", options)
        assert storage._root.path == root
    assert opened("sftp://nas/~/a", options).location == f"sftp://{sshd.user}@nas/~/a"
    assert opened("sftp://you@[::1]:2200/a", options).location == "sftp://you@[::1]:2200/a"


def test_the_home_directory_is_where_the_server_says(sshd: SshServer, tmp_path: Path) -> None:
    name = f"chunkstore-test-{os.urandom(6).hex()}"
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    if not os.access(home, os.W_OK):
        pytest.skip("the home directory can not be written to")
    storage = opened(sshd.url(f"/~/{name}"), sshd.options(sshd.home(tmp_path / "home")))
    try:
        assert names(storage.list("")) == []
        storage.put("packs/ab/1", b"1")
        assert (home / name / "packs/ab/1").read_bytes() == b"1"
        assert names(storage.list("")) == ["packs/ab/1"]
    finally:
        storage.close()
        subprocess.run(["rm", "-rf", str(home / name)], check=True)


@pytest.mark.parametrize(
    "url",
    [
        "sftp://",
        "sftp://host",
        "sftp:///path",
        "sftp://me@/path",
        "sftp://me@host:0/path",
        "sftp://me@host:70000/path",
        "sftp://me@host:port/path",
        "sftp://-oProxyCommand=x/path",
        "sftp://-x@host/path",
        "sftp://a;b@host/path",
        "sftp://host/a%00b",
    ],
)
def test_what_is_no_place(url: str, tmp_path: Path) -> None:
    options = StorageOptions(ssh=SshOptions(str(tmp_path), "me", system_files=False))
    with pytest.raises(InvalidArgument, match=r"user@\]?host"):
        open_storage(url, options=options, waiting=NO_WAITING)


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    options = StorageOptions(ssh=SshOptions(str(tmp_path), "me", system_files=False))
    with pytest.raises(InvalidArgument, match="no password in the URL") as caught:
        open_storage("sftp://me:secret@host/path", options=options, waiting=NO_WAITING)
    assert "secret" not in str(caught.value)


def test_opening_connects_to_nothing(tmp_path: Path) -> None:
    options = StorageOptions(ssh=SshOptions(str(tmp_path), "me", system_files=False))
    assert (
        open_storage("sftp://nowhere.invalid/a", options=options, waiting=NO_WAITING).location
        == "sftp://me@nowhere.invalid/a"
    )


def test_without_ssh_options(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="whose keys"):
        open_storage("sftp://host/path", waiting=NO_WAITING)


def test_missing_objects_name_themselves(storage: SftpStorage) -> None:
    with pytest.raises(ObjectMissing, match="packs/ab/1"):
        storage.get("packs/ab/1")
