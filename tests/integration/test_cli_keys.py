"""Keys at the command line, with a real gpg: who can make snapshots, who can read them, whom `init` encrypts to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command import Machine
from tests.conftest import Keys
from tests.gnupg_home import LONG_AGO, PASSPHRASE, GnupgHome, fixture_home, gnupg_home
from tests.trees import look

__all__ = ["fixture_home"]

NO_KEY = 12

# Every way of Python to start a process raises one of these audit events.
_NO_PROCESSES = """
import os, sys
def refuse(event, arguments):
    if event in ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"):
        os.write(2, b"a process was started: " + event.encode() + b"\\n")
        os._exit(99)
sys.addaudithook(refuse)
"""


@pytest.fixture(scope="module")
def people() -> Iterator[SimpleNamespace]:
    """A homedir with the private keys of two, and with keys that are of no use."""
    with gnupg_home() as home:
        found = SimpleNamespace(home=home)
        found.anna = home.make_key("Anna <anna@example.org>")
        found.ben = home.make_key("Ben <ben@example.org>")
        found.twin = home.make_key("Twin <twin@example.org>")
        home.gpg(
            *("--passphrase", "", "--pinentry-mode", "loopback", "--allow-freeform-uid", "--yes"),
            *("--quick-gen-key", "Other Twin <twin@example.org>", "future-default"),
        )
        found.expired = home.make_key("Old <old@example.org>", expires="1y", at=LONG_AGO)
        found.revoked = home.make_key("Revoked <revoked@example.org>")
        home.revoke(found.revoked)
        found.sign_only = home.make_key("Notary <notary@example.org>", algorithm="ed25519", usage="sign")
        yield found


@pytest.fixture(scope="module")
def stored(initialised: Machine, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A client whose gpg holds public keys only, and the snapshot it made; to be read, not changed."""
    root = tmp_path_factory.mktemp("stored")
    source = root / "source"
    source.mkdir()
    (source / "file").write_bytes(b"content")
    machine = initialised.copy_to(root / "machine")
    return SimpleNamespace(machine=machine, source=source, id=machine.snapshot(source))


def test_a_machine_with_public_keys_only_makes_snapshots_and_never_prompts(stored: SimpleNamespace, keys: Keys) -> None:
    listed = stored.machine.done("snapshots", "--json").json["snapshots"]
    assert [each["id"] for each in listed] == [stored.id]
    assert not keys.public.gpg("--list-secret-keys")
    assert not keys.asked.exists()


@pytest.mark.parametrize("command", ["restore", "ls", "cat", "verify"])
def test_reading_needs_the_private_key(stored: SimpleNamespace, keys: Keys, tmp_path: Path, command: str) -> None:
    arguments = {"restore": ("latest", tmp_path / "out"), "cat": (b"latest:" + os.fsencode(stored.source / "file"),)}
    command_line = (command, *arguments.get(command, ("latest",)))
    refused = stored.machine.run(*command_line)
    assert (refused.code, refused.stdout) == (NO_KEY, b"")
    assert keys.fingerprint in refused.stderr
    assert f"The Owner <{keys.mail}>" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert not keys.asked.exists()
    Machine(stored.machine.root, keys.private).done(*command_line)


def test_a_snapshot_needs_no_gpg_on_the_machine(machine: Machine, source: Path, tmp_path: Path) -> None:
    assert shutil.which("gpg", path=str(tmp_path)) is None
    environment = {"PATH": str(tmp_path), "GNUPGHOME": None}
    machine.snapshot(source, environment=environment)
    machine.snapshot(source, environment=environment)
    assert machine.done("snapshots", environment=environment).text.endswith("2 snapshots\n")


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_the_system_sees_a_snapshot_start_no_process(machine: Machine, source: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    tracing = ("strace", "-f", "-qq", "-o", str(log), "-e", "trace=execve,fork,vfork,clone,clone3")
    machine.snapshot(source, before=tracing)
    calls = [line.split(None, 1)[1] for line in log.read_text().splitlines()]
    assert [call for call in calls if call.startswith("execve")] == [calls[0]]
    made = [call for call in calls[1:] if re.match(r"(fork|vfork|clone)", call)]
    assert all("CLONE_THREAD" in call for call in made), made


def test_python_sees_a_snapshot_start_no_process(machine: Machine, source: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_NO_PROCESSES)
    watched = {"PYTHONPATH": str(tmp_path)}
    control = subprocess.run(
        [sys.executable, "-c", "import subprocess; subprocess.run(['true'])"],
        env=machine.environment(**watched),
        capture_output=True,
    )
    assert control.returncode == 99
    machine.snapshot(source, environment=watched)
    machine.done("snapshots", environment=watched)


def test_each_of_several_recipients_opens_alone(people: SimpleNamespace, source: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", people.home)
    made = machine.done("init", "-e", "anna@example.org", "-e", people.ben[-16:], "-e", people.anna)
    assert made.text.count(people.anna) == 1
    assert made.text.count(people.ben) == 1
    machine.snapshot(source)
    for person in (people.anna, people.ben):
        with gnupg_home() as alone:
            alone.gpg("--import", data=people.home.secret_key(person))
            assert alone.fingerprints() == [person]
            Machine(machine.root, alone).restore("latest", tmp_path / person)
        assert look(tmp_path / person) == look(source)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("nobody@example.org", "no GPG key for 'nobody@example.org': import it with `gpg --import FILE`"),
        ("twin@example.org", "fits several keys, give the fingerprint of one"),
        ("old@example.org", "expired on 2020-12-31: extend it with `gpg --quick-set-expire"),
        ("revoked@example.org", "is revoked: choose another key"),
        ("notary@example.org", "has no encryption key: add one with `gpg --quick-add-key"),
    ],
)
def test_a_key_that_is_of_no_use_is_refused_and_nothing_is_made(
    people: SimpleNamespace, tmp_path: Path, key: str, said: str
) -> None:
    machine = Machine(tmp_path / "machine", people.home)
    result = machine.run("init", "-e", "anna@example.org", "-e", key)
    assert (result.code, result.stdout) == (1, b"")
    assert said in result.stderr
    assert not machine.repository.exists()
    assert not machine.state.exists()


def test_a_generated_key_works_and_its_owner_is_told_to_keep_it(home: GnupgHome, source: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", home)
    told = machine.done("init", "--generate-key", "New User <new@example.org>").text
    (fingerprint,) = home.fingerprints()
    assert "KEEP THE PRIVATE KEY SAFE" in told
    assert f"gpg --export-secret-keys --armor {fingerprint}" in told
    assert f"gpg --delete-secret-keys {fingerprint}" in told
    machine.snapshot(source)
    assert look(machine.restore("latest", tmp_path / "out")) == look(source)


def test_a_generated_key_goes_with_given_ones(people: SimpleNamespace, home: GnupgHome, tmp_path: Path) -> None:
    home.gpg("--import", data=people.home.public_key(people.anna))
    machine = Machine(tmp_path / "machine", home)
    made = machine.done("init", "--json", "-e", people.anna, "--generate-key", "New User <new@example.org>").json
    assert {each["fingerprint"] for each in made["recipients"]} == set(home.fingerprints())


def test_no_key_is_generated_where_there_is_a_repository_already(machine: Machine, home: GnupgHome) -> None:
    result = Machine(machine.root, home).run("init", "--generate-key", "New User <new@example.org>")
    assert result.code == 1
    assert "there is a repository" in result.stderr
    assert home.fingerprints() == []


def test_init_twice_changes_nothing(machine: Machine, keys: Keys) -> None:
    before = machine.objects()
    result = machine.run("init", "-e", keys.mail)
    assert (result.code, result.stdout) == (1, b"")
    assert f"there is a repository at {machine.repository} already" in result.stderr
    assert "chunkstore join" in result.stderr
    assert machine.objects() == before


@pytest.mark.parametrize("name", ["thesis.txt", "My Holiday.JPG", ".hidden", "keys", "Documents/letter"])
def test_init_refuses_a_directory_that_holds_something_else(keys: Keys, tmp_path: Path, name: str) -> None:
    machine = Machine(tmp_path / "machine", keys.public)
    (machine.repository / name).parent.mkdir(parents=True)
    (machine.repository / name).write_bytes(b"something else")
    result = machine.run("init", "-e", keys.mail)
    assert result.code == 1
    assert "not empty" in result.stderr
    assert machine.names() == {name}


def test_init_takes_an_empty_directory(keys: Keys, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", keys.public)
    machine.repository.mkdir()
    machine.done("init", "-e", keys.mail)


def test_init_without_a_key_shows_both_ways(keys: Keys, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", keys.public)
    result = machine.run("init")
    assert (result.code, result.stdout) == (2, b"")
    assert "--encrypt-to KEY" in result.stderr
    assert "--generate-key" in result.stderr
    assert not machine.repository.exists()


def test_init_without_gpg_says_to_install_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", None)
    result = machine.run("init", "-e", "somebody@example.org", environment={"PATH": str(tmp_path)})
    assert (result.code, result.stdout) == (1, b"")
    assert "install gnupg" in result.stderr
    assert not machine.repository.exists()


@pytest.mark.parametrize("chunker", ["pyfastcdc:1K", "rabin", "fixed:1", "pyfastcdc:4K,1K,16K"])
def test_init_with_a_chunker_that_is_none(keys: Keys, tmp_path: Path, chunker: str) -> None:
    machine = Machine(tmp_path / "machine", keys.public)
    result = machine.run("init", "-e", keys.mail, "--chunker", chunker)
    assert result.code == 2
    assert "chunker" in result.stderr or "chunk size" in result.stderr
    assert not machine.repository.exists()


def test_another_private_key_does_not_open(stored: SimpleNamespace, people: SimpleNamespace, keys: Keys) -> None:
    result = Machine(stored.machine.root, people.home).run("ls", "latest")
    assert (result.code, result.stdout) == (NO_KEY, b"")
    assert keys.fingerprint in result.stderr


def test_without_a_terminal_a_locked_private_key_is_not_asked_for(
    home: GnupgHome, source: Path, tmp_path: Path
) -> None:
    home.make_key("Locked <locked@example.org>", passphrase=PASSPHRASE)
    asked = home.pinentry(PASSPHRASE)
    machine = Machine(tmp_path / "machine", home)
    machine.done("init", "-e", "locked@example.org")
    machine.snapshot(source)
    result = machine.run("ls", "latest")
    assert (result.code, result.stdout) == (NO_KEY, b"")
    assert home.fingerprints()[0] in result.stderr
    assert not asked.exists()


def _damage_keys(machine: Machine, how: str) -> None:
    for path in (machine.repository / "keys").iterdir():
        if how == "missing":
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            data[150] ^= 1
            path.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_damaged_sealed_keys_stop_whoever_joins_but_no_client(
    stored: SimpleNamespace, keys: Keys, tmp_path: Path, how: str
) -> None:
    machine = stored.machine.copy_to(tmp_path / "copy")
    owner = Machine(machine.root, keys.private)
    _damage_keys(machine, how)
    assert owner.done("ls", "latest").text == f"{stored.source}/file\n"
    machine.forget_everything()
    fingerprint = next((stored.machine.state / "chunkstore").iterdir()).name
    result = owner.run("join", "--fingerprint", fingerprint)
    assert (result.code, result.stdout) == (1, b"")
    assert "keys/" in result.stderr
    assert not machine.state.exists()


@pytest.mark.parametrize(("number", "command"), [(0, "ls"), (1, "verify"), (2, "ls")])
def test_a_standard_stream_that_is_closed_does_no_harm(
    stored: SimpleNamespace, keys: Keys, number: int, command: str
) -> None:
    """`<&-`, `>&-` and `2>&-`, as some schedulers start their jobs."""
    machine = Machine(stored.machine.root, keys.private)
    result = machine.run(command, "latest", preexec_fn=lambda: os.close(number))
    assert (result.code, result.stderr) == (0, ""), result


def test_no_core_is_dumped_of_a_process_that_holds_keys(stored: SimpleNamespace, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, resource, sys\n"
        "atexit.register(lambda: sys.stdout.write(f'{resource.getrlimit(resource.RLIMIT_CORE)}'))\n"
    )
    machine = Machine(stored.machine.root, keys.private)
    assert machine.done("ls", "latest", environment={"PYTHONPATH": str(tmp_path)}).text.endswith("(0, 0)")
