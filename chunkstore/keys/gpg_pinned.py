"""Sealing and verifying, which know pinned keys only.

Each call has its own homedir, removed afterwards, and reads no `gpg.conf` of the user: one can add recipients
(`encrypt-to`) or put another key in the place of a fingerprint (`group`). `--no-options` does not keep gpg from reading
/etc/gnupg/gpg.conf (tried with 2.2.40), so that is overridden option by option, and the outcome is compared.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chunkstore.errors import BadRecipient, BadSignature, GpgFailed, InvalidArgument, KeyProblem
from chunkstore.keys.gpg_listing import ENCRYPT, obstacle, parse_listing
from chunkstore.keys.gpg_packets import key_id_of, message_key_ids
from chunkstore.keys.gpg_process import Gpg, Outcome

TIMEOUT = 30.0
"""Seconds a run of gpg may take that nobody has to answer."""

# No agent is started: no private key is needed. Importing looks for a running one, though, and fails where the path
# of its socket, of at most 107 characters, is too long.
_ISOLATED = (
    "--no-options",
    "--no-autostart",
    "--disable-dirmngr",
    "--no-auto-key-locate",
    "--no-encrypt-to",
    "--no-groups",
    *("--trust-model", "always"),
)
_SCRATCH_PATH_LIMIT = 70
"""Bytes: with the name of a homedir, and that of a socket in it, it is less than the 108 of an address."""
_SHORT_PLACES = ("/tmp", "/var/tmp")  # noqa: S108  a directory with a random name is made in it
_SEALING = ("--no-armor", "--no-throw-keyids", "--output", "-", "--cipher-algo", "AES256", "-z", "0")

_STRONG_HASHES = ("8", "9", "10", "11", "12", "14")  # SHA-2 and SHA-3, RFC 9580, 9.5
_BINARY_DOCUMENT = "00"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A key that is sealed to. Fingerprints are full, in upper-case hex; `user_id` is for display only.

    `encryption_subkey` is the part that gpg encrypts to, `public_key` the binary export it is pinned by.
    """

    fingerprint: str
    encryption_subkey: str
    user_id: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """A key whose signatures count. `fingerprint` is that of its primary key."""

    fingerprint: str
    user_id: str
    public_key: bytes


def seal(
    plaintext: bytes,
    recipients: Sequence[Recipient],
    *,
    binary: str = "gpg",
    timeout: float = TIMEOUT,
    scratch: str,
) -> bytes:
    """One binary OpenPGP message that each of `recipients`, and nobody else, can open.

    The throw-away homedir is made in the directory `scratch`, or in one of the system's if that has too long a path. BadRecipient if one of the keys can not be encrypted to (any longer); GpgFailed if the message is not
    sealed to exactly the pinned encryption subkeys.
    """
    if not recipients:
        raise InvalidArgument("no recipient to seal to")
    pinned = {recipient.fingerprint: recipient for recipient in recipients}
    keys = {fingerprint: recipient.public_key for fingerprint, recipient in pinned.items()}
    with _only(keys, BadRecipient, binary=binary, timeout=timeout, scratch=scratch) as (gpg, _):
        outcome = gpg.run("encrypt", plaintext, list(pinned), armor=False, extra_args=list(_SEALING))
        refused = [line[-1] for line in outcome.all("INV_RECP")]
        if refused:
            raise _refusal(gpg, refused)
    if outcome.exit_code != 0 or outcome.count("END_ENCRYPTION") != 1:
        raise GpgFailed(f"gpg did not encrypt: {outcome.complaint}")
    wanted = sorted(key_id_of(recipient.encryption_subkey) for recipient in pinned.values())
    sealed_to = sorted(message_key_ids(outcome.output))
    if sealed_to != wanted:
        raise GpgFailed(f"gpg encrypted to {', '.join(sealed_to)}, but pinned is {', '.join(wanted)}")
    return outcome.output


def verify(
    data: bytes,
    signature: bytes,
    signers: Sequence[Signer],
    *,
    binary: str = "gpg",
    timeout: float = TIMEOUT,
    scratch: str,
) -> str:
    """The primary fingerprint of the one of `signers` that made the detached `signature` over `data`.

    BadSignature if it does not verify, is not from one of them, is more than one, covers text instead of bytes, uses
    SHA-1 or older, or if the signing key is revoked or expired.
    """
    keys = {signer.fingerprint: signer.public_key for signer in signers}
    if not keys:
        raise BadSignature("no signer is pinned")
    with _only(keys, BadSignature, binary=binary, timeout=timeout, scratch=scratch) as (gpg, homedir):
        file = homedir / "signature"
        file.write_bytes(signature)
        outcome = gpg.run("verify_data", str(file), data)
    primary = _verified_by(outcome)
    if primary not in keys:
        raise BadSignature(f"signed by {primary}, which is not a pinned signer")
    return primary


def _verified_by(outcome: Outcome) -> str:
    signatures = [outcome.count(keyword) for keyword in ("NEWSIG", "GOODSIG", "VALIDSIG")]
    if outcome.exit_code != 0 or signatures != [1, 1, 1]:
        raise BadSignature(_why_not_verified(outcome))
    fields = outcome.all("VALIDSIG")[0]
    if len(fields) < 10:
        raise GpgFailed("gpg is too old: it does not tell the primary key of a signature")
    hash_algorithm, signature_class, primary = fields[7:10]
    if signature_class != _BINARY_DOCUMENT or hash_algorithm not in _STRONG_HASHES:
        raise BadSignature("the signature is of a weak or unfit kind")
    return primary


def _why_not_verified(outcome: Outcome) -> str:
    if outcome.count("NEWSIG") > 1:
        return "more than one signature where one is expected"
    for keyword, reason in (
        ("BADSIG", "what was signed is not what is here"),
        ("EXPKEYSIG", "the key that signed has expired: extend it and pin it again"),
        ("REVKEYSIG", "the key that signed is revoked"),
        ("EXPSIG", "the signature has expired"),
        ("NO_PUBKEY", "signed by a key that is not a pinned signer"),
    ):
        for line in outcome.all(keyword):
            return f"{reason} (key {line[0]})"
    return f"no valid signature: {outcome.complaint}"


def _refusal(gpg: Gpg, refused: Sequence[str]) -> BadRecipient:
    """INV_RECP of gpg 2.2 has the same reason for all, so its listing is asked."""
    reasons = []
    for key in parse_listing(gpg.run("list_keys", False, keys=list(refused)).output):
        why = obstacle(key, ENCRYPT) or "can not be encrypted to"
        reasons.append(f"recipient {key.fingerprint} ({key.user_id}) {why}; then pin it again, or remove it")
    return BadRecipient("\n".join(reasons) or f"gpg refuses to encrypt to {', '.join(refused)}")


def _short(scratch: str) -> str:
    """The first place with a path so short that gpg's sockets fit in it: TMPDIR may be a long one too."""
    places = [scratch, tempfile.gettempdir(), *_SHORT_PLACES]
    for place in places:
        if len(os.fsencode(place)) <= _SCRATCH_PATH_LIMIT and (place == scratch or os.access(place, os.W_OK | os.X_OK)):
            return place
    raise GpgFailed(
        f"no place for gpg's temporary files: each of {', '.join(places)} is too long a path or not writable"
    )


@contextmanager
def _only(
    keys: Mapping[str, bytes], mismatch: type[KeyProblem], *, binary: str, timeout: float, scratch: str
) -> Iterator[tuple[Gpg, Path]]:
    """gpg with a homedir that holds exactly `keys` (by primary fingerprint; else `mismatch`), and that homedir."""
    try:
        homedir = tempfile.TemporaryDirectory(prefix="gpg-", dir=_short(scratch))  # mkdtemp: mode 0700
    except OSError as error:
        raise GpgFailed(f"no place for gpg's temporary files: {error}") from error
    with homedir:
        gpg = Gpg(binary=binary, homedir=homedir.name, options=_ISOLATED, timeout=timeout)
        outcome = gpg.run("import_keys", b"".join(keys.values()))
        imported = {line[-1] for line in outcome.all("IMPORT_OK")}
        if outcome.exit_code != 0 or imported != set(keys):
            raise mismatch(f"the pinned public keys are not those of {', '.join(keys)}: {outcome.complaint}")
        yield gpg, Path(homedir.name)
