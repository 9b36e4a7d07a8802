"""Who the server is and who we are: host keys, keys, agents, ~/.ssh/config, ways through other hosts. Nothing is asked."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("paramiko")

import paramiko
from chunkstore_cli.ssh_proxy import start_proxy

from chunkstore.errors import InvalidArgument, StorageUnreachable
from chunkstore.storage.sftp import SftpStorage, parse
from chunkstore.storage.ssh_login import Keyring, log_in
from chunkstore.storage.ssh_options import SshOptions
from tests.ssh_server import SshServer, make_key, ssh_server

Opens = Callable[[str, SshOptions], SftpStorage]


@pytest.fixture
def home(sshd: SshServer, tmp_path: Path) -> Path:
    return sshd.home(tmp_path / "home")


@pytest.fixture
def opens() -> Iterator[Opens]:
    storages: list[SftpStorage] = []

    def open_url(url: str, options: SshOptions) -> SftpStorage:
        target, path = parse(url.removeprefix("sftp://"), options)
        storages.append(SftpStorage.connecting(target, path, options, connections=1, create=True))
        return storages[-1]

    yield open_url
    for storage in storages:
        storage.close()


def config(home: Path, text: str) -> None:
    (home / ".ssh/config").write_text(text)


def refusal(storage: SftpStorage) -> str:
    with pytest.raises(StorageUnreachable) as caught:
        storage.put("a", b"1")
    assert not caught.value.transient, caught.value
    return str(caught.value)


def works(storage: SftpStorage) -> None:
    storage.put("a", b"1")
    assert storage.get("a") == b"1"


def fingerprint(key: Path) -> str:
    listed = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], capture_output=True, text=True, check=True)
    return listed.stdout.split()[1]


# Host keys


def test_an_unknown_host_key_is_not_accepted(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    (home / ".ssh/known_hosts").unlink()
    message = refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))
    assert f"ssh-ed25519 {fingerprint(sshd.folder / 'host_key.pub')}, which is in no file of known hosts" in message
    assert f"run `ssh -p {sshd.port} {sshd.user}@127.0.0.1` once" in message
    assert not (home / ".ssh/known_hosts").exists()
    assert not (tmp_path / "store").exists()


def test_no_configuration_turns_the_check_off(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    (home / ".ssh/known_hosts").unlink()
    config(home, "StrictHostKeyChecking no\n")
    assert "in no file of known hosts" in refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))


def test_a_changed_host_key_is_not_accepted(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    other = make_key(tmp_path / "other")
    name = f"[127.0.0.1]:{sshd.port}"
    (home / ".ssh/known_hosts").write_text(f"# a comment\n{name} {other.with_suffix('.pub').read_text()}")
    message = refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))
    assert "is known by another one" in message
    assert f"{home}/.ssh/known_hosts:2" in message
    assert f"ssh-keygen -R '{name}'" in message
    assert fingerprint(sshd.folder / "host_key.pub") in message


def test_a_host_known_by_a_key_of_another_kind_is_not_accepted_either(
    sshd: SshServer, home: Path, tmp_path: Path, opens: Opens
) -> None:
    other = make_key(tmp_path / "other", "ecdsa")
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other.with_suffix('.pub').read_text()}")
    assert "is known by another one" in refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))


def test_a_revoked_host_key_is_not_accepted(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    (home / ".ssh/known_hosts").write_text(f"{sshd.known_hosts_line}@revoked {sshd.known_hosts_line}")
    assert "marked as revoked" in refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))


def test_a_host_is_asked_for_the_kind_of_key_that_is_known(tmp_path: Path, opens: Opens) -> None:
    """It also has a key of the kind that would be asked for first."""
    extra = make_key(tmp_path / "rsa", "rsa")
    with ssh_server(tmp_path / "server", extra=f"HostKey {extra}\n") as server:
        home = server.home(tmp_path / "home")
        (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{server.port} {extra.with_suffix('.pub').read_text()}")
        works(opens(server.url(tmp_path / "store"), server.options(home)))


def test_hashed_names_and_other_files(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    known = home / ".ssh/known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    works(opens(sshd.url(tmp_path / "store"), sshd.options(home)))
    known.rename(home / "elsewhere")
    config(home, "UserKnownHostsFile ~/elsewhere ~/nothing\n".replace("~", str(home)))
    works(opens(sshd.url(tmp_path / "store"), sshd.options(home)))


def test_a_host_key_alias(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    (home / ".ssh/known_hosts").write_text(f"vault {(sshd.folder / 'host_key.pub').read_text()}")
    config(home, "HostKeyAlias vault\n")
    works(opens(sshd.url(tmp_path / "store"), sshd.options(home)))


# Keys


def test_a_key_that_is_not_let_in(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    for name in ("id_ed25519", "id_ed25519.pub"):
        (home / ".ssh" / name).unlink()
    make_key(home / ".ssh/id_ed25519")
    make_key(home / ".ssh/id_ecdsa", "ecdsa", passphrase="secret words")
    message = refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))
    assert f"{sshd.user}@127.0.0.1:{sshd.port} does not let us in" in message
    assert f"Keys tried: {home}/.ssh/id_ed25519." in message
    assert f"{home}/.ssh/id_ecdsa (has a passphrase: load it into an agent with ssh-add)" in message
    assert "secret" not in message


def test_no_key_at_all(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    (home / ".ssh/id_ed25519").unlink()
    assert "There was no key to try" in refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))
    config(home, "IdentityFile ~/.ssh/gone\nIdentityFile ~/.ssh/broken\n".replace("~", str(home)))
    (home / ".ssh/broken").write_text("no key\n")
    message = refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))
    assert "gone (not there)" in message
    assert "broken (not a private key" in message


def test_an_unknown_user(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    url = sshd.url(tmp_path / "store").replace(f"{sshd.user}@", "nobody-of-this-name@")
    assert "nobody-of-this-name@127.0.0.1" in refusal(opens(url, sshd.options(home)))


def test_rsa_and_ecdsa_keys(tmp_path: Path, opens: Opens) -> None:
    with ssh_server(tmp_path / "server") as server:
        for kind in ("rsa", "ecdsa"):
            home = server.home(tmp_path / kind)
            (home / ".ssh/id_ed25519").unlink()
            key = make_key(home / f".ssh/id_{kind}", kind)
            with (server.folder / "authorized_keys").open("a") as keys:
                keys.write(key.with_suffix(".pub").read_text())
            works(opens(server.url(tmp_path / "store"), server.options(home)))


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[str]:
    """An agent with these keys; the path of its socket."""
    address = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.DEVNULL)
    try:
        while not address.exists():
            assert process.poll() is None
        for key in keys:
            environment = {**os.environ, "SSH_AUTH_SOCK": str(address)}
            subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True, stdin=subprocess.DEVNULL)
        yield str(address)
    finally:
        process.kill()
        process.wait()


def test_an_agent(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("needs ssh-agent")
    (home / ".ssh/id_ed25519").unlink()
    others = [make_key(tmp_path / f"other{number}") for number in range(2)]
    with agent(tmp_path, *others, sshd.key) as address:
        monkeypatch.setenv("SSH_AUTH_SOCK", address)
        works(opens(sshd.url(tmp_path / "store"), replace(sshd.options(home), use_agent=True)))
        assert "no key to try" in refusal(opens(sshd.url(tmp_path / "store"), sshd.options(home)))


def test_a_key_of_the_agent_that_is_named_comes_first(
    sshd: SshServer, home: Path, tmp_path: Path, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a server hangs up after six others."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("needs ssh-agent")
    (home / ".ssh/id_ed25519").unlink()
    others = [make_key(tmp_path / f"other{number}") for number in range(7)]
    with agent(tmp_path, *others, sshd.key) as address:
        monkeypatch.setenv("SSH_AUTH_SOCK", address)
        options = replace(sshd.options(home), use_agent=True)
        assert "it hung up" in refusal(opens(sshd.url(tmp_path / "store"), options))
        config(home, f"IdentityFile {home}/.ssh/id_ed25519.pub\nIdentitiesOnly yes\n")
        works(opens(sshd.url(tmp_path / "store"), options))


# Configuration and ways


def test_an_alias(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    shutil.move(home / ".ssh/id_ed25519", home / "key")
    block = f"Host nas\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n  IdentityFile {home}/key\n"
    config(home, f"Include more/*\n\n{block}\nHost *\n  ServerAliveInterval 30\n  ConnectTimeout 15\n")
    storage = opens(f"sftp://nas{tmp_path}/store", sshd.options(home))
    works(storage)
    assert storage.location == sshd.url(tmp_path / "store")


def test_what_the_url_says_comes_before_the_configuration(
    sshd: SshServer, home: Path, tmp_path: Path, opens: Opens
) -> None:
    config(home, "Host nas\n  HostName 127.0.0.1\n  Port 1\n  User somebody\n")
    works(opens(f"sftp://{sshd.user}@nas:{sshd.port}{tmp_path}/store", sshd.options(home)))


def test_through_other_hosts(sshd: SshServer, tmp_path: Path, opens: Opens) -> None:
    with ssh_server(tmp_path / "first") as first, ssh_server(tmp_path / "second") as second:
        home = sshd.home(tmp_path / "home")
        with (home / ".ssh/known_hosts").open("a") as known:
            known.writelines([first.known_hosts_line, second.known_hosts_line])
        blocks = (
            f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {server.key}\n{more}"
            for name, server, more in (
                ("first", first, ""),
                ("second", second, ""),
                ("vault", sshd, f"  ProxyJump first,{second.user}@second\n"),
            )
        )
        config(home, "".join(blocks))
        works(opens(f"sftp://{sshd.user}@vault{tmp_path}/store", sshd.options(home)))
        assert "Accepted publickey" in first.log
        assert "Accepted publickey" in second.log


def test_hosts_in_between_are_checked_too(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    with ssh_server(tmp_path / "first") as first:
        config(home, f"Host vault\n  HostName 127.0.0.1\n  Port {sshd.port}\n  ProxyJump 127.0.0.1:{first.port}\n")
        message = refusal(opens(f"sftp://{sshd.user}@vault{tmp_path}/store", sshd.options(home)))
        assert f"127.0.0.1:{first.port} shows the host key" in message


def test_hosts_in_a_circle(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    config(home, "Host vault\n  ProxyJump other\nHost other\n  ProxyJump vault\n")
    with pytest.raises(InvalidArgument, match="in a circle"):
        opens(f"sftp://vault{tmp_path}/store", sshd.options(home)).get("a")


def test_through_a_command(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "    s.shutdown(socket.SHUT_WR)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n"
    )
    config(home, f"Host vault\n  HostName 127.0.0.1\n  Port {sshd.port}\n  ProxyCommand python3 {relay} %h %p\n")
    url = f"sftp://{sshd.user}@vault{tmp_path}/store"
    works(opens(url, replace(sshd.options(home), start_proxy=start_proxy)))
    with pytest.raises(InvalidArgument, match="ProxyCommand can not be started"):
        opens(url, sshd.options(home)).get("a")


def test_a_command_that_fails(sshd: SshServer, home: Path, tmp_path: Path, opens: Opens) -> None:
    config(home, "ProxyCommand false\n")
    options = replace(sshd.options(home), start_proxy=start_proxy)
    with pytest.raises(StorageUnreachable, match="SSH can not begin"):
        opens(sshd.url(tmp_path / "store"), options).get("a")


# Hosts that are none


def test_hosts_that_are_not_there(sshd: SshServer, home: Path, opens: Opens) -> None:
    with pytest.raises(StorageUnreachable, match=r"nowhere\.invalid: there is no such host"):
        opens("sftp://nowhere.invalid/x", sshd.options(home)).get("a")
    with pytest.raises(StorageUnreachable, match=r"127\.0\.0\.1:1: Connection refused"):
        opens("sftp://127.0.0.1:1/x", sshd.options(home)).get("a")


def test_an_account_without_sftp(tmp_path: Path, opens: Opens) -> None:
    with ssh_server(tmp_path / "server", extra="ForceCommand echo hello; exit 0\n") as server:
        message = refusal(opens(server.url(tmp_path / "store"), server.options(server.home(tmp_path / "home"))))
        assert "logged in, but SFTP does not begin" in message
        assert "an impossible length" in message


def test_an_account_that_can_do_nothing_else(tmp_path: Path, opens: Opens) -> None:
    """As docs/sftp.md has it, without the chroot, for which sshd has to be root's."""
    extra = (
        "ForceCommand internal-sftp\nAllowTcpForwarding no\nPermitTTY no\nX11Forwarding no\nAllowAgentForwarding no\n"
    )
    with ssh_server(tmp_path / "server", extra=extra) as server:
        works(opens(server.url(tmp_path / "store"), server.options(server.home(tmp_path / "home"))))


def test_an_account_in_a_directory_of_its_own(opens: Opens) -> None:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="chunkstore-", dir="/") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "backup").mkdir()
        with ssh_server(folder / "server", extra=f"ForceCommand internal-sftp\nChrootDirectory {folder}\n") as server:
            options = server.options(server.home(folder / "home"))
            storage = opens(server.url("/backup/host"), options)
            works(storage)
            assert (folder / "backup/host/a").read_bytes() == b"1"
            storage.close()


def test_an_account_that_may_only_read(tmp_path: Path, opens: Opens) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/a").write_bytes(b"1")
    with ssh_server(tmp_path / "server", extra="ForceCommand internal-sftp -R\n") as server:
        storage = opens(server.url(tmp_path / "store"), server.options(server.home(tmp_path / "home")))
        assert storage.get("a") == b"1"
        assert [info.name for info in storage.list("")] == ["a"]
        for action in (
            lambda: storage.put("b", b""),
            lambda: storage.put_if_absent("b", b""),
            lambda: storage.delete("a"),
        ):
            with pytest.raises(StorageUnreachable, match="Permission denied"):
                action()
        assert storage.get("a") == b"1"


class HangsUp:
    """A connection that is cut as soon as a key is shown."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def auth_publickey(self, user: str, key: paramiko.PKey) -> list[str]:
        self._transport.sock.close()
        return self._transport.auth_publickey(user, key)


@pytest.mark.parametrize("accepted_before", [True, False])
def test_a_connection_that_breaks_while_logging_in(sshd: SshServer, home: Path, *, accepted_before: bool) -> None:
    """Tried again where the key was let in before; else it may be a refusal, and servers lock out who keeps trying."""
    target, _ = parse(sshd.url(home).removeprefix("sftp://"), sshd.options(home))
    with closing(paramiko.Transport(socket.create_connection((target.host, target.port)))) as transport:
        transport.start_client(timeout=10)
        with closing(Keyring(target, use_agent=False)) as keyring:
            key = next(iter(keyring)).key.asbytes()
            with pytest.raises(StorageUnreachable) as error:
                log_in(HangsUp(transport), target, keyring, key if accepted_before else None)  # type: ignore[arg-type]
    assert error.value.transient == accepted_before
