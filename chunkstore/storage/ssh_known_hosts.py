"""Files of known host keys, as sshd(8) describes them under SSH_KNOWN_HOSTS FILE FORMAT.

    [@revoked] names type base64-key [comment]      names: comma-separated patterns with * ? !, or |1|salt|hash

paramiko's reader knows neither patterns nor `@revoked`, hence this one. `@cert-authority` lines are passed over: host
certificates are not asked for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["known", "unknown", "changed", "revoked"]

SSH_PORT: Final = 22
_REVOKED: Final = "@revoked"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A line: who it is about, the key as it goes over the wire, and `file:line` for messages."""

    names: str
    kind: str
    key: bytes
    revoked: bool
    where: str


def read_known_hosts(files: Iterable[str]) -> tuple[KnownKey, ...]:
    """All lines of all files that can be read; OSError for one that is there and can not."""
    return tuple(key for file in files for key in _read(file))


def names_of(host: str, port: int) -> tuple[str, ...]:
    """The names under which a host may be known: for an unusual port first the one with it, as ssh has it."""
    name = host.lower()
    return (name,) if port == SSH_PORT else (f"[{name}]:{port}", name)


def keys_of(names: Sequence[str], known: Iterable[KnownKey]) -> tuple[KnownKey, ...]:
    """The lines about a host."""
    return tuple(key for key in known if any(_is_about(key.names, name) for name in names))


def judge(key: bytes, known: Sequence[KnownKey]) -> Verdict:
    """What to think of the key a host shows, given the lines about that host and all revoked ones."""
    if any(each.revoked and each.key == key for each in known):
        return "revoked"
    expected = [each for each in known if not each.revoked]
    if any(hmac.compare_digest(each.key, key) for each in expected):
        return "known"
    return "changed" if expected else "unknown"


def fingerprint(key: bytes) -> str:
    """As ssh shows it: SHA256:..."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _read(file: str) -> Iterator[KnownKey]:
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if key := _parse(line, f"{file}:{number}"):
                    yield key
    except FileNotFoundError:
        return


def _parse(line: str, where: str) -> KnownKey | None:
    """None for comments, for what is of another kind, and for what is none, as ssh passes over it."""
    fields = line.split()
    revoked = fields[:1] == [_REVOKED]
    if revoked:
        del fields[0]
    if len(fields) < 3 or fields[0].startswith(("#", "@")):
        return None
    try:
        key = base64.b64decode(fields[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return KnownKey(fields[0], fields[1], key, revoked, where)


def _is_about(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        return _hashes_to(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        if fnmatchcase(name, _literal_brackets(pattern.removeprefix("!"))):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _hashes_to(hashed: str, name: str) -> bool:
    _, _, salt, digest = (*hashed.split("|"), "", "", "")[:4]
    try:
        expected = base64.b64decode(digest, validate=True)
        actual = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(actual, expected)


def _literal_brackets(pattern: str) -> str:
    """`[host]:port` means itself here; to fnmatch it would be a class of characters."""
    return pattern.replace("[", "[[]")
