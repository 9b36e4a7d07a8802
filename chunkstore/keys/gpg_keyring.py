"""The user's own keyring: which key is meant, and whatever needs a private key.

The user's homedir, agent and `gpg.conf` are used, because there may be a keyring, an agent or a smartcard set up in
them; what in `gpg.conf` could change a result is overridden here or found out afterwards.
"""

from __future__ import annotations

import re

from chunkstore.errors import BadRecipient, ChunkstoreError, Damaged, GpgFailed, InvalidArgument, NoUsableKey
from chunkstore.keys.gpg_listing import ENCRYPT, SIGN, ListedKey, Query, choose, parse_listing
from chunkstore.keys.gpg_packets import message_key_ids
from chunkstore.keys.gpg_pinned import TIMEOUT, Recipient, Signer
from chunkstore.keys.gpg_process import Gpg, Outcome

PATIENCE = 300.0
"""Seconds a person has to answer a passphrase prompt."""

_MAX_OUTPUT = 16 << 20  # bytes; anybody can seal something that decompresses to gigabytes

# A user's gpg.conf may say otherwise. `--trust-model always` also spares a look at the whole trust database.
_OVERRIDES = (
    "--no-armor",
    "--no-textmode",
    "--no-groups",
    "--no-auto-key-locate",
    "--disable-dirmngr",
    *("--max-output", str(_MAX_OUTPUT)),
    *("--trust-model", "always"),
)
_TO_STDOUT = ("--output", "-")
_SIGNING = ("--digest-algo", "SHA512", "--default-sig-expire", "0")

_NAME_AND_MAIL = re.compile(r"([^<>]*[^<>\s])\s*<([^<>@\s]+@[^<>@\s]+)>")
_SOCKET_PATH_LIMIT = 90  # of 108 bytes; the agent appends names such as /S.gpg-agent.browser

# libgpg-error: the low 16 bits are the code, the 7 above bit 24 the component that reports it.
_FROM_PINENTRY = 5
_NO_PASSPHRASE = {11, 62, 85, 86, 87, 99, 177, 198}  # bad, timeout, (no) pinentry, bad PIN, cancelled, none
_NO_PRIVATE_KEY = {9, 17, 53, 54}  # no public key, no secret key, unusable public key, unusable secret key
_DAMAGE = {10, 30, 89}  # checksum, bad MPI, bad data


class UserKeyring:
    """One homedir (None: gpg's default) with its agent. `terminal` is the path of the terminal that pinentry asks at,
    for callers whose GPG_TTY is not set; `timeout` and `patience` are the seconds gpg may take without and with a
    person who has to answer.
    """

    def __init__(
        self,
        homedir: str | None = None,
        binary: str = "gpg",
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        terminal: str | None = None,
    ) -> None:
        self._homedir = homedir
        self._binary = binary
        self._timeout = timeout
        self._patience = patience
        self._terminal = terminal

    def resolve_recipient(self, query: str) -> Recipient:
        """The key meant by an e-mail address, fingerprint, key id or part of a name.

        BadRecipient says what to do if it is unknown, ambiguous, expired, revoked, disabled or can not encrypt.
        """
        wanted = Query(query)
        key = choose(wanted, self._list(wanted, secret=False), ENCRYPT)
        subkey = key.part_for(ENCRYPT)
        assert subkey is not None
        return Recipient(key.fingerprint, subkey.fingerprint, key.user_id, self._export(key.fingerprint))

    def resolve_signer(self, query: str) -> Signer:
        """The key meant, which must be able to sign with a private key that is here; BadRecipient as above."""
        wanted = Query(query)
        key = choose(wanted, self._list(wanted, secret=True), SIGN)
        return Signer(key.fingerprint, key.user_id, self._export(key.fingerprint))

    def resolve_verifier(self, query: str) -> Signer:
        """The key meant, whose signatures are to be checked; its public half is enough. BadRecipient as above."""
        wanted = Query(query)
        key = choose(wanted, self._list(wanted, secret=False), SIGN, private=False)
        return Signer(key.fingerprint, key.user_id, self._export(key.fingerprint))

    def secret_fingerprints(self) -> frozenset[str]:
        """The fingerprints of all keys and subkeys whose private half is here or on a known smartcard."""
        keys = self._list(None, secret=True)
        return frozenset(part.fingerprint for key in keys for part in key.parts if part.secret)

    def generate_key(self, name_and_mail: str, *, interactive: bool, passphrase: str | None = None) -> Recipient:
        """Make a key pair for "Name <mail>": ed25519 and cv25519, or RSA where gpg has no curves.

        It never expires: a backup key that expires fails the unattended run, and old snapshots need it anyway.
        `interactive`: pinentry asks for a passphrase; else `passphrase` protects it, and None leaves it unprotected.
        """
        name, mail = _name_and_mail(name_and_mail)
        if passphrase is not None and (interactive or not _is_passphrase(passphrase)):
            raise InvalidArgument(
                "a passphrase is one line, does not begin or end with a space, and is not asked for too"
            )
        present = [key for key in self._list(Query(mail), secret=False) if Query(mail).fits(key)]
        if present:
            listed = ", ".join(key.fingerprint for key in present)
            raise BadRecipient(f"there is a key for {mail} already ({listed}): use it with --encrypt-to")
        gpg = self._gpg(interactive=interactive)
        modern = b"ed25519" in gpg.configuration and b"cv25519" in gpg.configuration
        protection = "" if interactive else f"Passphrase: {passphrase}" if passphrase else "%no-protection"
        outcome = gpg.run("gen_key", _key_parameters(name, mail, protection, modern=modern).encode())
        created = outcome.all("KEY_CREATED")
        if outcome.exit_code != 0 or len(created) != 1:
            raise GpgFailed(f"gpg did not make a key: {outcome.complaint}{self._path_hint()}")
        return self.resolve_recipient(created[0][1])

    def unseal(self, message: bytes, *, interactive: bool) -> bytes:
        """Open a message made by `seal`. Without `interactive` nobody is asked: a passphrase must be in the agent.

        Anybody can seal to a public key, so this says nothing about who did: the caller checks that the plaintext has
        our magic, the kind, repository id and key id it expects. NoUsableKey if no private key opens it, Damaged if
        it was altered or is not a single sealed message, else GpgFailed (also for more than 16 MiB).
        """
        key_ids = message_key_ids(message)
        outcome = self._gpg(interactive=interactive).run("decrypt", message, extra_args=list(_TO_STDOUT))
        if _is_unsealed(outcome):
            return outcome.output
        raise self._why_not_unsealed(outcome, key_ids, interactive=interactive)

    def sign(self, data: bytes, signer_fingerprint: str, *, interactive: bool) -> bytes:
        """A detached binary signature over `data`."""
        arguments = [*_TO_STDOUT, *_SIGNING, "--local-user", signer_fingerprint]
        outcome = self._gpg(interactive=interactive).run(
            "sign", data, detach=True, clearsign=False, binary=True, extra_args=arguments
        )
        made = outcome.count("SIG_CREATED")
        if outcome.exit_code == 0 and made == 1 and outcome.output:
            return outcome.output
        codes = outcome.error_codes("FAILURE", "sign")
        if any(_passphrase_missing(code) for code in codes):
            raise NoUsableKey(_passphrase_advice(interactive, outcome))
        if any(code & 0xFFFF in _NO_PRIVATE_KEY for code in codes) or outcome.count("INV_SGNR"):
            raise NoUsableKey(f"no private key here signs for {signer_fingerprint}: {outcome.complaint}")
        if made > 1:
            raise GpgFailed("gpg signed with more keys than asked for: remove `local-user` from gpg.conf")
        raise GpgFailed(f"gpg did not sign: {outcome.complaint}{self._path_hint()}")

    def _gpg(self, *, interactive: bool = False) -> Gpg:
        terminal = ["--ttyname", self._terminal] if self._terminal and interactive else []
        pinentry = ["--pinentry-mode", "ask" if interactive else "error"]
        return Gpg(
            binary=self._binary,
            homedir=self._homedir,
            options=[*_OVERRIDES, *pinentry, *terminal],
            timeout=self._patience if interactive else self._timeout,
        )

    def _list(self, query: Query | None, *, secret: bool) -> list[ListedKey]:
        outcome = self._gpg().run("list_keys", secret, keys=query.pattern if query else None)
        unknown = any(code & 0xFFFF in _NO_PRIVATE_KEY for code in outcome.error_codes("ERROR", "keylist.getkey"))
        if outcome.exit_code != 0 and not unknown:
            raise GpgFailed(f"gpg can not list its keys: {outcome.complaint}{self._path_hint()}")
        return parse_listing(outcome.output)

    def _export(self, fingerprint: str) -> bytes:
        outcome = self._gpg().run("export_keys", fingerprint, armor=False, minimal=True, output="-")
        if outcome.exit_code != 0 or not outcome.output:
            raise GpgFailed(f"gpg did not export key {fingerprint}: {outcome.complaint}")
        return outcome.output

    def _why_not_unsealed(self, outcome: Outcome, key_ids: list[str], *, interactive: bool) -> ChunkstoreError:
        codes = outcome.error_codes("ERROR", "pkdecrypt_failed")
        failed = outcome.count("DECRYPTION_FAILED") > 0
        if failed and outcome.count("DECRYPTION_INFO"):  # the session key was found
            return Damaged("the sealed message was altered")
        if any(_passphrase_missing(code) for code in codes):
            return NoUsableKey(_passphrase_advice(interactive, outcome))
        if any(code & 0xFFFF in _DAMAGE for code in codes):
            return Damaged("the sealed message was altered, or its key is damaged")
        if outcome.count("NO_SECKEY") and not codes:
            self.secret_fingerprints()  # fails where the agent does not run, of which decrypting says nothing else
            return NoUsableKey(f"no private key here opens this; it is sealed to {', '.join(key_ids)}")
        return GpgFailed(f"gpg did not decrypt: {outcome.complaint}")

    def _path_hint(self) -> str:
        too_long = self._homedir is not None and len(self._homedir.encode()) > _SOCKET_PATH_LIMIT
        return f" (the path {self._homedir} may be too long for the agent's socket)" if too_long else ""


def _is_unsealed(outcome: Outcome) -> bool:
    """GOODMDC too: with `ignore-mdc-error` in gpg.conf an altered message ends with 0 and DECRYPTION_OKAY."""
    once = ("BEGIN_DECRYPTION", "PLAINTEXT", "DECRYPTION_OKAY", "GOODMDC")
    never = ("DECRYPTION_FAILED", "BADMDC", "FAILURE", "UNEXPECTED", "NODATA")
    return (
        outcome.exit_code == 0
        and all(outcome.count(keyword) == 1 for keyword in once)
        and not any(outcome.count(keyword) for keyword in never)
    )


def _passphrase_missing(code: int) -> bool:
    return code & 0xFFFF in _NO_PASSPHRASE or code >> 24 & 0x7F == _FROM_PINENTRY


def _passphrase_advice(interactive: bool, outcome: Outcome) -> str:
    if interactive:
        return f"the private key stays locked: {outcome.complaint}"
    return (
        "the private key needs its passphrase or smartcard, and there is no terminal to ask at: "
        "run this at a terminal, or unlock the key in gpg-agent first"
    )


def _is_passphrase(text: str) -> bool:
    """gpg reads it from a line of parameters, without the spaces around."""
    return bool(text) and text.isprintable() and text.strip() == text


def _name_and_mail(text: str) -> tuple[str, str]:
    found = _NAME_AND_MAIL.fullmatch(text.strip())
    if not found or not text.isprintable():
        raise InvalidArgument(f'not of the form "Name <mail>": {text!r}')
    return found[1].strip(), found[2]


def _key_parameters(name: str, mail: str, protection: str, *, modern: bool) -> str:
    """gnupg/doc/DETAILS, "Unattended key generation"."""
    primary = ["Key-Type: EDDSA", "Key-Curve: ed25519"] if modern else ["Key-Type: RSA", "Key-Length: 3072"]
    subkey = ["Subkey-Type: ECDH", "Subkey-Curve: cv25519"] if modern else ["Subkey-Type: RSA", "Subkey-Length: 3072"]
    lines = [
        *(*primary, "Key-Usage: sign,cert"),
        *(*subkey, "Subkey-Usage: encrypt"),
        *(f"Name-Real: {name}", f"Name-Email: {mail}", "Expire-Date: 0"),
        *([protection] if protection else []),
        "%commit",
    ]
    return "\n".join(lines) + "\n"
