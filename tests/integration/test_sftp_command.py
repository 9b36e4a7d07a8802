"""The command with repositories on a real SFTP server: the whole round, what goes wrong, servers that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paramiko")

from tests.command import TIMEOUT_S, Machine, Result, finish
from tests.conftest import SMALL_CHUNKS, Keys
from tests.ssh_server import SshServer, make_key, ssh_server
from tests.trees import look, noise, plant

FAILED, USAGE, NO_REPOSITORY, UNREACHABLE = 1, 2, 10, 11


class FarMachine(Machine):
    """A machine whose repository is on an SFTP server. `repository` is where it really is."""

    def __init__(self, root: Path, gnupg: Any, repository: Path, url: str) -> None:
        super().__init__(root, gnupg, repository)
        self.url = url

    def environment(self, **changes: str | None) -> dict[str, str]:
        return super().environment(**{"CHUNKSTORE_REPOSITORY": self.url, **changes})

    def init(self, mail: str) -> Result:
        return self.done("init", "--encrypt-to", mail, "--chunker", SMALL_CHUNKS, "--pack-size", "1M", "--json")


@pytest.fixture
def far(sshd: SshServer, keys: Keys, tmp_path: Path) -> FarMachine:
    """A machine that knows the server as `nas`, where it has no repository yet."""
    return machine_for(sshd, keys, tmp_path)


def machine_for(server: SshServer, keys: Keys, folder: Path, name: str = "machine") -> FarMachine:
    config = f"Host nas\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
    server.home(folder / name / "home", config=config)
    return FarMachine(folder / name, keys.public, folder / "repository", f"sftp://nas{folder}/repository")


def with_private_key(machine: FarMachine, keys: Keys) -> FarMachine:
    return FarMachine(machine.root, keys.private, machine.repository, machine.url)


def test_the_whole_round(far: FarMachine, keys: Keys, source: Path, tmp_path: Path) -> None:
    made = far.init(keys.mail).json
    assert made["conditional_writes"] is True
    first = far.snapshot(source)
    seen = look(source)
    plant(source, {b"new": noise(50_000, 7)})
    second = far.snapshot(source)
    assert [each["id"] for each in far.done("snapshots", "--json").json["snapshots"]] == [first, second]
    owner = with_private_key(far, keys)
    far.forget_cache()
    assert look(owner.restore(first, tmp_path / "first")) == seen
    assert look(owner.restore("latest", tmp_path / "second")) == look(source)
    owner.done("verify", "latest")
    kinds = {name.split("/")[0] for name in far.names()}
    assert kinds == {"config", "keys", "recipients", "packs", "index", "snapshots"}


def test_init_says_how_to_come_to_the_same_place_again(far: FarMachine, keys: Keys, tmp_path: Path) -> None:
    """By the name that ~/.ssh/config has for the host, which stands for more than an address; by the whole path here."""
    place = f"sftp://nas{tmp_path}/a%20b%25"
    for said, again in ((place, place), ("here", far.root / "here")):
        made = far.done("-r", said, "init", "-e", keys.mail)
        assert made.stdout.decode().splitlines()[-1] == f"Next: chunkstore -r {again} snapshot PATH"
    assert (tmp_path / "a b%" / "config").is_dir()
    assert (far.root / "here" / "config").is_dir()
    assert far.done("init", "-e", keys.mail).stdout.decode().splitlines()[-1] == "Next: chunkstore snapshot PATH"


def test_a_second_machine_joins(far: FarMachine, sshd: SshServer, keys: Keys, source: Path, tmp_path: Path) -> None:
    fingerprint = far.init(keys.mail).json["fingerprint"]
    first = far.snapshot(source)
    other = machine_for(sshd, keys, tmp_path, "other")
    with_private_key(other, keys).done("join", "--fingerprint", fingerprint)
    second = other.snapshot(source)
    for snapshot in (first, second):
        assert look(with_private_key(other, keys).restore(snapshot, tmp_path / snapshot)) == look(source)


def test_with_limits_and_one_connection(far: FarMachine, keys: Keys, source: Path, tmp_path: Path) -> None:
    far.init(keys.mail)
    more = ("--connections", "1", "--limit-upload", "10M", "--limit-download", "10M")
    far.done("snapshot", source, *more)
    with_private_key(far, keys).done("restore", "latest", tmp_path / "out", *more)
    assert look(tmp_path / "out") == look(source)


# Trouble


def refused(result: Result, code: int, *said: str) -> None:
    """The command ended with this code, and one line that says these things."""
    assert result.code == code, result
    assert result.stdout == b""
    lines = [line for line in result.stderr.splitlines() if "trying again" not in line]
    assert len(lines) == 1, result.stderr
    for each in said:
        assert each in lines[0], lines[0]


def test_nothing_at_this_place_or_something_else(far: FarMachine, keys: Keys, source: Path) -> None:
    for command in (("snapshot", source), ("snapshots",)):
        refused(far.run(*command), NO_REPOSITORY, "there is no repository at sftp://")
    assert not far.repository.exists()
    far.repository.mkdir()
    (far.repository / "letter").write_bytes(b"Dear reader")
    refused(far.run("snapshots"), NO_REPOSITORY, "there is no repository")
    refused(far.run("init", "-e", keys.mail), FAILED, "is not empty", "letter")
    (far.repository / "letter").unlink()
    for strange, shown in (("photos/IMG 1.JPG", "photos/"), (".hidden", ".hidden")):
        (far.repository / strange).parent.mkdir(exist_ok=True)
        (far.repository / strange).write_bytes(b"x")
        refused(far.run("init", "-e", keys.mail), FAILED, f"is not empty: it holds {shown}.")
        (far.repository / strange).unlink()
    (far.repository / "photos").rmdir()
    assert far.run("init", "-e", keys.mail).code == 0


def test_an_unknown_host_key(far: FarMachine, source: Path) -> None:
    (far.home / ".ssh/known_hosts").unlink()
    refused(far.run("snapshots"), UNREACHABLE, "which is in no file of known hosts", "SHA256:")


def test_a_changed_host_key(far: FarMachine, sshd: SshServer, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    (far.home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other.with_suffix('.pub').read_text()}")
    refused(far.run("snapshots"), UNREACHABLE, "is known by another one", "known_hosts:1", "SHA256:")


def test_a_wrong_key(far: FarMachine, tmp_path: Path) -> None:
    (far.home / ".ssh/id_ed25519").unlink()
    refused(far.run("snapshots"), UNREACHABLE, "does not let us in", "no key to try")
    shutil.move(make_key(tmp_path / "other"), far.home / ".ssh/id_ed25519")
    refused(far.run("snapshots"), UNREACHABLE, "does not let us in", "id_ed25519")


def test_a_host_that_can_not_be_reached(far: FarMachine) -> None:
    running = {
        said: far.start("-r", url, "snapshots")
        for url, said in (("sftp://127.0.0.1:1/x", "Connection refused"), ("sftp://no-such.invalid/x", "no such host"))
    }
    for said, process in running.items():
        refused(finish(process), UNREACHABLE, said)


def test_a_place_without_rights(sshd: SshServer, far: FarMachine, keys: Keys) -> None:
    refused(far.run("-r", "sftp://nas/proc/nothing", "init", "-e", keys.mail), UNREACHABLE, "/proc/nothing")


def test_a_password_in_the_url(far: FarMachine) -> None:
    refused(far.run("-r", "sftp://me:secret@nas/x", "snapshots"), USAGE, "no password in the URL")
    assert "secret" not in far.run("-r", "sftp://me:secret@nas/x", "snapshots").stderr


def test_paramiko_is_imported_only_for_sftp(machine: Machine, source: Path) -> None:
    listed = machine.run("snapshots", environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert listed.code == 0
    assert "chunkstore.storage" in listed.stderr
    assert "paramiko" not in listed.stderr


# Servers that are killed


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Files that take a while."""
    root = tmp_path / "large"
    plant(root, {b"%d" % number: noise(4_000_000, number) for number in range(12)})
    return root


def packs(machine: FarMachine) -> int:
    return len(machine.names("packs/"))


def wait_for(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_connections_that_are_killed_in_mid_snapshot(keys: Keys, source: Path, large: Path, tmp_path: Path) -> None:
    with ssh_server(tmp_path / "server") as server:
        machine = machine_for(server, keys, tmp_path)
        machine.init(keys.mail)
        first = machine.snapshot(source)
        before = packs(machine)
        running = machine.start("snapshot", "--json", "--limit-upload", "20M", large)
        for killed in range(3):
            wait_for(running, lambda killed=killed: packs(machine) > before + 4 * killed)  # type: ignore[misc]
            server.signal_sessions()
        result = finish(running)
        assert result.code == 0, result
        assert "trying again" in result.stderr
        assert "Traceback" not in result.stderr
        owner = with_private_key(machine, keys)
        assert look(owner.restore(first, tmp_path / "first")) == look(source)
        assert look(owner.restore(result.json["snapshot"]["id"], tmp_path / "second")) == look(large)
        assert os.listdir(machine.repository / ".tmp") == []


def test_a_server_that_is_killed_in_mid_snapshot_and_comes_back(
    keys: Keys, source: Path, large: Path, tmp_path: Path
) -> None:
    with ssh_server(tmp_path / "server") as server:
        machine = machine_for(server, keys, tmp_path)
        machine.init(keys.mail)
        first = machine.snapshot(source)
        before = packs(machine)
        running = machine.start("snapshot", "--json", "--limit-upload", "20M", large)
        wait_for(running, lambda: packs(machine) > before + 3)
    time.sleep(1)
    with ssh_server(tmp_path / "server", port=server.port):
        result = finish(running)
        assert result.code == 0, result
        assert "trying again" in result.stderr
        owner = with_private_key(machine, keys)
        assert look(owner.restore(first, tmp_path / "first")) == look(source)
        assert look(owner.restore(result.json["snapshot"]["id"], tmp_path / "second")) == look(large)


def test_a_client_that_is_killed_leaves_a_repository_that_works(
    far: FarMachine, keys: Keys, source: Path, large: Path, tmp_path: Path
) -> None:
    far.init(keys.mail)
    first = far.snapshot(source)
    before = packs(far)
    running = far.start("snapshot", "--limit-upload", "20M", large)
    wait_for(running, lambda: packs(far) > before + 3)
    running.send_signal(signal.SIGKILL)
    finish(running)
    second = far.snapshot(large)
    owner = with_private_key(far, keys)
    assert look(owner.restore(first, tmp_path / "first")) == look(source)
    assert look(owner.restore(second, tmp_path / "second")) == look(large)


def test_connections_that_are_killed_in_mid_restore(keys: Keys, large: Path, tmp_path: Path) -> None:
    with ssh_server(tmp_path / "server") as server:
        machine = machine_for(server, keys, tmp_path)
        machine.init(keys.mail)
        machine.snapshot(large)
        owner = with_private_key(machine, keys)
        target = tmp_path / "out"
        running = owner.start("restore", "--limit-download", "20M", "latest", target)
        wait_for(running, lambda: target.is_dir() and any(target.iterdir()))
        server.signal_sessions()
        result = finish(running)
        assert result.code == 0, result
        assert look(target) == look(large)
