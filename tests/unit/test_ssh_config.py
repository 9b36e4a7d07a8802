"""What ~/.ssh/config and files of known hosts say."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

pytest.importorskip("paramiko")

from chunkstore.errors import InvalidArgument
from chunkstore.storage.ssh_config import SshTarget, find_target
from chunkstore.storage.ssh_connection import parse_authority
from chunkstore.storage.ssh_known_hosts import judge, keys_of, names_of, read_known_hosts
from chunkstore.storage.ssh_options import SshOptions

KEY, OTHER = (base64.b64encode(data).decode() for data in (b"a key", b"another key"))


@pytest.fixture
def options(tmp_path: Path) -> SshOptions:
    (tmp_path / ".ssh").mkdir()
    return SshOptions(str(tmp_path), "me", system_files=False)


def target(options: SshOptions, text: str, alias: str = "nas") -> SshTarget:
    Path(options.in_ssh("config")).write_text(text)
    return find_target(alias, None, None, options)


# Configuration


def test_without_a_configuration(options: SshOptions, tmp_path: Path) -> None:
    found = find_target("nas.example.org", None, None, options)
    assert (found.host, found.port, found.user, found.shown) == ("nas.example.org", 22, "me", "me@nas.example.org")
    assert found.key_files == tuple(f"{tmp_path}/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa"))
    assert found.known_hosts == (f"{tmp_path}/.ssh/known_hosts", f"{tmp_path}/.ssh/known_hosts2")
    assert not found.explicit_keys
    assert (found.jumps, found.proxy_command, found.connect_timeout) == ((), None, 30.0)


def test_values(options: SshOptions, tmp_path: Path) -> None:
    found = target(
        options,
        'Host nas\n HostName = 10.0.0.1\n Port 2200\n User "somebody"\n IdentityFile %d/keys/one\n IdentityFile '
        f"{tmp_path}/two\n IdentitiesOnly yes\n UserKnownHostsFile ~/a {tmp_path}/b\n HostKeyAlias vault\n"
        " ConnectTimeout 7\n ServerAliveInterval 15\n ProxyJump a@one:22,two\nHost *\n User nobody\n Port 1\n",
    )
    assert found.shown == "somebody@10.0.0.1:2200"
    assert found.key_files[1] == f"{tmp_path}/two"
    assert (found.explicit_keys, found.identities_only, found.host_key_alias) == (True, True, "vault")
    assert found.known_hosts == (f"{tmp_path}/a", f"{tmp_path}/b")
    assert (found.connect_timeout, found.keep_alive, found.jumps) == (7, 15, ("a@one:22", "two"))


def test_includes(options: SshOptions, tmp_path: Path) -> None:
    more = tmp_path / ".ssh/more"
    more.mkdir()
    (more / "1").write_text("Host other\n Port 1\nHost nas\n Port 2200\n")
    (tmp_path / "elsewhere").write_text("User included\n")
    found = target(options, "Include more/* nothing\nHost nas\n Include ~/elsewhere\n HostName real\n")
    assert found.shown == "included@real:2200"
    assert target(options, "Include more/*\nUser everybody\n", "third").user == "everybody"
    (more / "1").write_text("Include config\n")
    with pytest.raises(InvalidArgument, match="include each other"):
        target(options, "Include more/1\nInclude config\n")


def test_blocks_that_would_start_a_process_do_not_count(options: SshOptions, tmp_path: Path) -> None:
    made = tmp_path / "made"
    found = target(options, f'Match host nas exec "touch {made}"\n User wrong\nMatch host nas\n User right\n')
    assert found.user == "right"
    assert not made.exists()


@pytest.mark.parametrize(
    "text", ["Port many", "Port 99999", "ConnectTimeout -1", "CanonicalizeHostname yes", "Match", "???"]
)
def test_configurations_that_are_wrong(options: SshOptions, text: str) -> None:
    with pytest.raises(InvalidArgument):
        target(options, f"{text}\n")


def test_hosts() -> None:
    assert parse_authority("me@host:22") == ("me", "host", 22)
    assert parse_authority("host") == (None, "host", None)
    assert parse_authority("[fe80::1%eth0]:2200") == (None, "fe80::1%eth0", 2200)
    assert parse_authority("first.last@my_host.example.org") == ("first.last", "my_host.example.org", None)
    for text in ("", "@host", "host:", "host:0", "-x", "a b", "me@-x", "a`b@host", "host;x", "fe80::1"):
        with pytest.raises(InvalidArgument):
            parse_authority(text)


# Known hosts


def judged(tmp_path: Path, lines: str, host: str, port: int = 22, key: bytes = b"a key") -> str:
    (tmp_path / "known").write_text(lines)
    known = read_known_hosts([str(tmp_path / "known"), str(tmp_path / "nothing")])
    return judge(key, keys_of(names_of(host, port), known))


@pytest.mark.parametrize(
    ("names", "host", "port", "verdict"),
    [
        ("nas", "nas", 22, "known"),
        ("nas", "NAS", 22, "known"),
        ("nas", "nas2", 22, "unknown"),
        ("nas,10.0.0.1", "10.0.0.1", 22, "known"),
        ("*.example.org", "nas.example.org", 22, "known"),
        ("*.example.org,!nas.example.org", "nas.example.org", 22, "unknown"),
        ("10.0.0.?", "10.0.0.7", 22, "known"),
        ("[nas]:2200", "nas", 2200, "known"),
        ("[nas]:2200", "nas", 22, "unknown"),
        ("[nas]:2200", "n", 2200, "unknown"),
        ("nas", "nas", 2200, "known"),
        ("[::1]:2200", "::1", 2200, "known"),
    ],
)
def test_names_of_hosts(tmp_path: Path, names: str, host: str, port: int, verdict: str) -> None:
    assert judged(tmp_path, f"{names} ssh-ed25519 {KEY} a comment\n", host, port) == verdict


def test_hashed_names(tmp_path: Path) -> None:
    salt = bytes(range(20))
    digest = hmac.new(salt, b"[nas]:2200", hashlib.sha1).digest()
    line = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()} ssh-ed25519 {KEY}\n"
    assert judged(tmp_path, line, "nas", 2200) == "known"
    assert judged(tmp_path, line, "nas", 2201) == "unknown"
    for broken in ("|1|", "|1|x", "|1|x|y", "|2|AAAA|AAAA", "|1|é|é"):
        assert judged(tmp_path, f"{broken} ssh-ed25519 {KEY}\n", "nas") == "unknown"


def test_verdicts(tmp_path: Path) -> None:
    known, other = f"nas ssh-ed25519 {KEY}\n", f"nas ssh-ed25519 {OTHER}\n"
    assert judged(tmp_path, other, "nas") == "changed"
    assert judged(tmp_path, other + known, "nas") == "known"
    assert judged(tmp_path, f"nas ssh-rsa {OTHER}\n", "nas") == "changed"
    assert judged(tmp_path, f"{known}@revoked nas ssh-ed25519 {KEY}\n", "nas") == "revoked"
    assert judged(tmp_path, f"{known}@revoked * ssh-ed25519 {OTHER}\n", "nas") == "known"
    assert judged(tmp_path, f"@cert-authority nas ssh-ed25519 {KEY}\n", "nas") == "unknown"
    for nonsense in ("", "#nas ssh-ed25519 AAAA", "nas", "nas ssh-ed25519", "nas ssh-ed25519 *", f"@other {known}"):
        assert judged(tmp_path, f"{nonsense}\n", "nas") == "unknown"
