"""gpg's key listings (`--with-colons`, gnupg/doc/DETAILS), and which of the listed keys is meant and fit for use.

A query is a fingerprint, a key id, an e-mail address or a part of a name. gpg is asked for candidates only; whether
one fits is decided here, because gpg takes "ed@x" for a part of "fred@x".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from chunkstore.errors import BadRecipient, GpgFailed, InvalidArgument
from chunkstore.keys.gpg_packets import key_id_of
from chunkstore.keys.gpg_process import printable

ENCRYPT = "e"
SIGN = "s"

_REVOKED, _EXPIRED, _INVALID = "r", "e", "i"
_UNUSABLE = (_REVOKED, _EXPIRED, _INVALID)
_HEX_LENGTHS = (8, 16, 40, 64)
_ADDRESS = re.compile(r"<([^<>\s]+@[^<>\s]+)>\s*$|^([^<>\s]+@[^<>\s]+)$")
_SHORT_ESCAPES = {b"n": b"\n", b"r": b"\r", b"f": b"\f", b"v": b"\v", b"b": b"\b", b"0": b"\0"}


@dataclass(frozen=True, slots=True)
class KeyPart:
    """A primary key or a subkey. `validity` and `capabilities` are gpg's letters; `secret`: its private half is here."""

    fingerprint: str
    validity: str
    created: int
    expires: str
    capabilities: str
    secret: bool

    def can(self, capability: str) -> bool:
        return capability in self.capabilities and self.validity not in _UNUSABLE


@dataclass(frozen=True, slots=True)
class UserId:
    text: str
    validity: str


@dataclass(frozen=True, slots=True)
class ListedKey:
    primary: KeyPart
    disabled: bool
    user_ids: tuple[UserId, ...]
    subkeys: tuple[KeyPart, ...]

    @property
    def fingerprint(self) -> str:
        return self.primary.fingerprint

    @property
    def parts(self) -> tuple[KeyPart, ...]:
        return (self.primary, *self.subkeys)

    @property
    def user_id(self) -> str:
        """The primary user id, made harmless for a terminal."""
        fit = [user_id for user_id in self.user_ids if user_id.validity not in _UNUSABLE] or self.user_ids
        return printable(fit[0].text) if fit else "no user id"

    def part_for(self, capability: str) -> KeyPart | None:
        """The part gpg uses: the newest fit subkey (the first of equals), else the primary key (`finish_lookup`)."""
        fit = [part for part in self.subkeys if part.can(capability)]
        if fit:
            return max(fit, key=lambda part: part.created)
        return self.primary if self.primary.can(capability) else None


class Query:
    """What a person calls a key."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        if not self.text or not self.text.isprintable():
            raise InvalidArgument(f"not a name for a GPG key: {text!r}")
        digits = self.text.replace(" ", "").removeprefix("0x").upper()
        self._hex = digits if len(digits) in _HEX_LENGTHS and not set(digits) - set("0123456789ABCDEF") else ""
        self._address = address_of(self.text)

    @property
    def pattern(self) -> str:
        """For gpg: candidates. It never begins with a dash."""
        return f"0x{self._hex}" if self._hex else f"*{self._address or self.text}"

    def fits(self, key: ListedKey) -> bool:
        if self._hex:
            named = [(part.fingerprint, key_id_of(part.fingerprint)) for part in key.parts]
            return any(fingerprint == self._hex or key_id.endswith(self._hex) for fingerprint, key_id in named)
        # A user id that was taken back counts only where the whole key is: then the key's state is the answer.
        withdrawn = () if key.primary.validity in _UNUSABLE else (_REVOKED, _INVALID)
        return any(self._names(user_id.text) for user_id in key.user_ids if user_id.validity not in withdrawn)

    def _names(self, user_id: str) -> bool:
        if not self._address:
            return self.text.casefold() in user_id.casefold()
        return address_of(user_id) == self._address and (
            "<" not in self.text or self.text.partition("<")[0].strip().casefold() in user_id.casefold()
        )


def address_of(user_id: str) -> str:
    """The e-mail address of "Name <address>" or of a bare address, in lower case; "" where there is none."""
    found = _ADDRESS.search(user_id)
    return (found[1] or found[2]).casefold() if found else ""


def choose(query: Query, candidates: Sequence[ListedKey], capability: str, *, private: bool = True) -> ListedKey:
    """The one key that is meant and can do `capability`; BadRecipient says what to do where there is not one.

    `private`: the candidates are private keys, where the capability is to sign.
    """
    meant = [key for key in candidates if query.fits(key)]
    fit = [key for key in meant if obstacle(key, capability, private=private) is None]
    if len(fit) == 1:
        return fit[0]
    if len(fit) > 1:
        listed = "".join(f"\n  {key.fingerprint}  {key.user_id}" for key in fit)
        raise BadRecipient(f"{query.text!r} fits several keys, give the fingerprint of one:{listed}")
    if meant:
        reasons = [
            f"key {key.fingerprint} ({key.user_id}) {obstacle(key, capability, private=private)}" for key in meant
        ]
        raise BadRecipient("\n".join(reasons))
    if capability == SIGN and private:
        raise BadRecipient(f"no private key for {query.text!r} here; see `gpg --list-secret-keys`")
    raise BadRecipient(
        f"no GPG key for {query.text!r}: import it with `gpg --import FILE` or `gpg --locate-keys ADDRESS`"
    )


def obstacle(key: ListedKey, capability: str, *, private: bool = True) -> str | None:
    """Why `key` can not encrypt (or sign, or with `private=False` vouch), and what to do about it; None if it can."""
    fingerprint = key.fingerprint
    match key.primary.validity:
        case "r":
            return "is revoked: choose another key"
        case "e":
            return f"expired on {_day(key.primary.expires)}: extend it with `gpg --quick-set-expire {fingerprint} 0`"
        case "i":
            return "has no valid signature of its own: export it again where it comes from"
    if key.disabled:
        return f"is disabled: enable it with `gpg --edit-key {fingerprint} enable save`"
    return _part_obstacle(key, capability, private=private)


def _part_obstacle(key: ListedKey, capability: str, *, private: bool) -> str | None:
    kind = "encryption" if capability == ENCRYPT else "signing"
    parts = [part for part in key.parts if capability in part.capabilities]
    best = key.part_for(capability)
    if best is not None and (capability == ENCRYPT or best.secret or not private):
        return None
    if not parts:
        usage = f"`gpg --quick-add-key {key.fingerprint} default {'encr' if capability == ENCRYPT else 'sign'}`"
        return f"has no {kind} key: add one with {usage} or choose another key"
    if best is not None:
        return f"has a {kind} key whose private half is not here"
    expired = [part for part in parts if part.validity == _EXPIRED]
    if expired:
        last = max(expired, key=lambda part: part.created)
        extend = f"`gpg --quick-set-expire {key.fingerprint} 0 {last.fingerprint}`"
        return f"has an {kind} subkey that expired on {_day(last.expires)}: extend it with {extend}"
    return f"has no {kind} subkey that is not revoked: add one or choose another key"


def parse_listing(listing: bytes) -> list[ListedKey]:
    """The keys of a `--list-keys` or `--list-secret-keys` listing with fingerprints of the subkeys."""
    keys: list[ListedKey] = []
    for line in listing.split(b"\n"):
        fields = line.split(b":")
        record = fields[0].decode("ascii", "replace")
        if record in ("pub", "sec"):
            disabled = b"D" in fields[11] if len(fields) > 11 else False
            keys.append(ListedKey(_part(fields), disabled, (), ()))
        elif keys and record in ("sub", "ssb"):
            keys[-1] = replace(keys[-1], subkeys=(*keys[-1].subkeys, _part(fields)))
        elif keys and record == "fpr":
            keys[-1] = _with_fingerprint(keys[-1], _text(fields, 9))
        elif keys and record == "uid":
            user_id = UserId(_unescape(fields[9]) if len(fields) > 9 else "", _text(fields, 1))
            keys[-1] = replace(keys[-1], user_ids=(*keys[-1].user_ids, user_id))
    if any(not part.fingerprint for key in keys for part in key.parts):
        raise GpgFailed("gpg listed a key without its fingerprint")
    return keys


def _with_fingerprint(key: ListedKey, fingerprint: str) -> ListedKey:
    """A "fpr" record belongs to the "pub" or "sub" record before it."""
    if not key.subkeys:
        return replace(key, primary=replace(key.primary, fingerprint=fingerprint))
    return replace(key, subkeys=(*key.subkeys[:-1], replace(key.subkeys[-1], fingerprint=fingerprint)))


def _part(fields: list[bytes]) -> KeyPart:
    created = _text(fields, 5)
    return KeyPart(
        fingerprint="",
        validity=_text(fields, 1),
        created=int(created) if created.isdecimal() else 0,
        expires=_text(fields, 6),
        capabilities="".join(letter for letter in _text(fields, 11) if letter.islower()),
        secret=_text(fields, 14) not in ("", "#"),
    )


def _text(fields: list[bytes], index: int) -> str:
    return fields[index].decode("ascii", "replace") if len(fields) > index else ""


def _unescape(field: bytes) -> str:
    plain = re.sub(
        rb"\\x([0-9a-fA-F]{2})|\\([nrfvb0])",
        lambda found: bytes.fromhex(found[1].decode()) if found[1] else _SHORT_ESCAPES[found[2]],
        field,
    )
    return plain.decode("utf-8", "replace")


def _day(seconds: str) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).date().isoformat() if seconds.isdecimal() else seconds
