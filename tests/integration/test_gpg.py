"""The gpg rules of the design, each with a real gpg."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkstore.errors import (
    BadRecipient,
    BadSignature,
    Damaged,
    GpgFailed,
    InvalidArgument,
    NoUsableKey,
)
from chunkstore.keys.gpg import Recipient, Signer, UserKeyring, message_key_ids, seal, verify
from tests.gnupg_home import LONG_AGO, PASSPHRASE, GnupgHome, fixture_home, gnupg_home

SECRET = b"the reading key\x00\xff of this repository"

__all__ = ["fixture_home"]


@pytest.fixture(scope="module")
def people() -> Iterator[SimpleNamespace]:
    """A homedir with the private keys of several people; tests only read it."""
    with gnupg_home() as home:
        found = SimpleNamespace(home=home, keyring=UserKeyring(str(home)))
        found.alice = home.make_key("Alice Example <alice@example.org>")
        found.bob = home.make_key("Bob <bob@example.org>")
        found.fred = home.make_key("Fred <fred@example.org>")
        found.ed = home.make_key("Ed <ed@example.org>")
        found.twin_a = home.make_key("Twin <twin@example.org>")
        home.gpg(
            *("--passphrase", "", "--pinentry-mode", "loopback", "--allow-freeform-uid", "--yes"),
            *("--quick-gen-key", "Other Twin <twin@example.org>", "future-default"),
        )
        found.expired = home.make_key("Old <old@example.org>", expires="1y", at=LONG_AGO)
        found.revoked = home.make_key("Rev <rev@example.org>")
        home.revoke(found.revoked)
        found.disabled = home.make_key("Dis <dis@example.org>")
        home.edit(found.disabled, "disable")
        found.sign_only = home.make_key("Notary <notary@example.org>", algorithm="ed25519", usage="sign")
        found.stale = home.make_key("Stale <stale@example.org>", algorithm="ed25519", usage="sign", at=LONG_AGO)
        clock = ("--faked-system-time", LONG_AGO, "--passphrase", "", "--pinentry-mode", "loopback")
        home.gpg(*clock, "--quick-add-key", found.stale, "cv25519", "encr", "1y")
        found.torn = home.make_key("Torn <torn@example.org>")
        home.edit(found.torn, "key 1", "revkey", "y", "0", "", "y")
        yield found


@pytest.fixture(scope="module")
def alice(people: SimpleNamespace) -> Recipient:
    recipient: Recipient = people.keyring.resolve_recipient("alice@example.org")
    return recipient


@pytest.fixture(scope="module")
def bob(people: SimpleNamespace) -> Recipient:
    recipient: Recipient = people.keyring.resolve_recipient("bob@example.org")
    return recipient


def pinned(home: GnupgHome, fingerprint: str) -> Recipient:
    """A recipient pinned at a time when its key was still good."""
    return Recipient(fingerprint, home.subkeys(fingerprint)[-1], "pinned before", home.public_key(fingerprint))


def signer(home: GnupgHome, fingerprint: str) -> Signer:
    return Signer(fingerprint, "somebody", home.public_key(fingerprint))


def script(path: Path, body: str) -> str:
    """A program that stands for gpg."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


# --- which key is meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    ["alice@example.org", "ALICE@Example.org", "<alice@example.org>", "Alice Example <alice@example.org>", "alice ex"],
)
def test_a_recipient_is_found_by_address_or_name(people: SimpleNamespace, spelling: str) -> None:
    found = people.keyring.resolve_recipient(spelling)
    assert found.fingerprint == people.alice
    assert [found.encryption_subkey] == people.home.subkeys(people.alice)
    assert found.user_id == "Alice Example <alice@example.org>"


def test_a_recipient_is_found_by_fingerprint_and_key_id(people: SimpleNamespace, alice: Recipient) -> None:
    grouped = " ".join(people.alice[i : i + 4] for i in range(0, 40, 4))
    for spelling in (people.alice, people.alice.lower(), "0x" + people.alice[-16:], people.alice[-8:], grouped):
        assert people.keyring.resolve_recipient(spelling) == alice
    assert people.keyring.resolve_recipient(alice.encryption_subkey) == alice


def test_an_address_is_not_a_part_of_another(people: SimpleNamespace) -> None:
    assert people.keyring.resolve_recipient("ed@example.org").fingerprint == people.ed
    with pytest.raises(BadRecipient, match="no GPG key"):
        people.keyring.resolve_recipient("ed@example.or")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("nobody@example.org", "no GPG key .*gpg --import"),
        ("0123456789ABCDEF", "no GPG key"),
        ("old@example.org", "expired on 2020-12-31: .*--quick-set-expire"),
        ("rev@example.org", "is revoked"),
        ("dis@example.org", "is disabled: .*enable"),
        ("notary@example.org", "no encryption key: .*--quick-add-key"),
        ("stale@example.org", "encryption subkey that expired on 2020-12-31: .*--quick-set-expire"),
        ("torn@example.org", "no encryption subkey that is not revoked"),
        ("-home", "no GPG key"),
        ("*", "no GPG key"),
    ],
)
def test_an_unfit_recipient_is_refused_with_a_reason(people: SimpleNamespace, query: str, reason: str) -> None:
    with pytest.raises(BadRecipient, match=reason):
        people.keyring.resolve_recipient(query)


def test_an_ambiguous_recipient_is_refused_with_the_candidates(people: SimpleNamespace) -> None:
    with pytest.raises(BadRecipient, match="give the fingerprint") as refused:
        people.keyring.resolve_recipient("twin@example.org")
    assert people.twin_a in str(refused.value)
    assert "Other Twin <twin@example.org>" in str(refused.value)
    assert people.keyring.resolve_recipient(people.twin_a).fingerprint == people.twin_a


def test_unfit_keys_do_not_make_a_name_ambiguous(home: GnupgHome) -> None:
    home.make_key("Carol <carol@example.org>", expires="1y", at=LONG_AGO)
    home.gpg(
        *("--passphrase", "", "--pinentry-mode", "loopback", "--yes"),
        *("--quick-gen-key", "Carol <carol@example.org>", "future-default"),
    )
    assert UserKeyring(str(home)).resolve_recipient("carol@example.org").fingerprint == home.fingerprints()[-1]


@pytest.mark.parametrize("query", ["", "  ", "a\nb", "a\0b"])
def test_a_query_that_is_no_name_is_an_invalid_argument(people: SimpleNamespace, query: str) -> None:
    with pytest.raises(InvalidArgument):
        people.keyring.resolve_recipient(query)


def test_the_newest_encryption_subkey_is_the_one_that_gpg_uses(home: GnupgHome, tmp_path: Path) -> None:
    fingerprint = home.make_key("Many <many@example.org>", at=LONG_AGO)
    unprotected = ("--passphrase", "", "--pinentry-mode", "loopback", "--quick-add-key", fingerprint)
    home.gpg("--faked-system-time", "20220101T000000!", *unprotected, "cv25519", "encr")
    home.gpg("--faked-system-time", "20210101T000000!", *unprotected, "cv25519", "encr")
    recipient = UserKeyring(str(home)).resolve_recipient("many@example.org")
    sealed = seal(SECRET, [recipient], scratch=str(tmp_path))
    assert message_key_ids(sealed) == [recipient.encryption_subkey[-16:]]


def test_a_signer_needs_its_private_key_here(people: SimpleNamespace, home: GnupgHome) -> None:
    assert people.keyring.resolve_signer("notary@example.org").fingerprint == people.sign_only
    home.gpg("--import", data=people.home.public_key(people.alice))
    with pytest.raises(BadRecipient, match="no private key"):
        UserKeyring(str(home)).resolve_signer("alice@example.org")
    with pytest.raises(BadRecipient, match="expired"):
        people.keyring.resolve_signer("old@example.org")


def test_it_is_known_which_private_keys_are_here(people: SimpleNamespace, home: GnupgHome, alice: Recipient) -> None:
    secrets = people.keyring.secret_fingerprints()
    assert {alice.fingerprint, alice.encryption_subkey, people.bob} <= secrets
    home.gpg("--import", data=people.home.public_key(people.alice))
    assert UserKeyring(str(home)).secret_fingerprints() == frozenset()


def test_a_hostile_user_id_neither_breaks_nor_forges_a_listing(home: GnupgHome) -> None:
    hostile = "Mal\x85uid\u2028pub:\x0bfpr:\x0c\u202e <mal@example.org>"
    fingerprint = home.make_key(hostile.encode())
    found = UserKeyring(str(home)).resolve_recipient("mal@example.org")
    assert found.fingerprint == fingerprint
    assert found.user_id.isprintable()


# --- a new key -----------------------------------------------------------------------------------------------------


def test_a_new_key_never_expires_and_is_unprotected_without_a_terminal(home: GnupgHome, tmp_path: Path) -> None:
    keyring = UserKeyring(str(home))
    recipient = keyring.generate_key("Zoë Backup <zoe@example.org>", interactive=False)
    assert recipient == keyring.resolve_recipient("zoe@example.org")
    assert recipient.user_id == "Zoë Backup <zoe@example.org>"
    listing = home.gpg("--with-colons", "--list-keys").decode().split("\n")
    records = [line.split(":") for line in listing if line.startswith(("pub:", "sub:"))]
    assert [(record[6], record[16]) for record in records] == [("", "ed25519"), ("", "cv25519")]
    home.stop_agent()
    assert keyring.unseal(seal(SECRET, [recipient], scratch=str(tmp_path)), interactive=False) == SECRET


def test_a_new_key_asks_for_its_passphrase_at_a_terminal(home: GnupgHome, tmp_path: Path) -> None:
    asked = home.pinentry(PASSPHRASE)
    keyring = UserKeyring(str(home))
    recipient = keyring.generate_key("Tia <tia@example.org>", interactive=True)
    assert asked.exists()
    sealed = seal(SECRET, [recipient], scratch=str(tmp_path))
    home.stop_agent()
    with pytest.raises(NoUsableKey, match="passphrase"):
        keyring.unseal(sealed, interactive=False)
    assert keyring.unseal(sealed, interactive=True) == SECRET


def test_a_new_key_may_have_a_given_passphrase(home: GnupgHome) -> None:
    keyring = UserKeyring(str(home))
    recipient = keyring.generate_key("Pia <pia@example.org>", interactive=False, passphrase=PASSPHRASE)
    home.stop_agent()
    with pytest.raises(NoUsableKey, match="passphrase"):
        keyring.sign(b"data", recipient.fingerprint, interactive=False)
    for passphrase in ("", " ", "a\n%commit"):
        with pytest.raises(InvalidArgument):
            keyring.generate_key("Ria <ria@example.org>", interactive=False, passphrase=passphrase)


def test_without_curves_a_new_key_is_rsa(home: GnupgHome, tmp_path: Path) -> None:
    old = 'case "$*" in *--list-config*) gpg "$@" | grep -v ^cfg:curve;; *) exec gpg "$@";; esac'
    keyring = UserKeyring(str(home), binary=script(tmp_path / "gpg", old))
    recipient = keyring.generate_key("Rsa <rsa@example.org>", interactive=False)
    sealed = seal(SECRET, [recipient], scratch=str(tmp_path))
    assert len(sealed) > 384
    assert keyring.unseal(sealed, interactive=False) == SECRET


def test_a_second_key_for_an_address_is_refused(people: SimpleNamespace) -> None:
    with pytest.raises(BadRecipient, match=f"{people.ed}.*--encrypt-to"):
        people.keyring.generate_key("Eddy <ED@example.org>", interactive=False)


@pytest.mark.parametrize(
    "text",
    ["", "zoe@example.org", "<zoe@example.org>", "Zoe <zoe>", "Zoe <a@b> x", "Z\n%commit <z@x.org>", "Z <z@x\n.org>"],
)
def test_a_malformed_name_is_an_invalid_argument(people: SimpleNamespace, text: str) -> None:
    with pytest.raises(InvalidArgument, match="Name <mail>"):
        people.keyring.generate_key(text, interactive=False)


# --- sealing -------------------------------------------------------------------------------------------------------


def test_each_recipient_opens_what_was_sealed(
    people: SimpleNamespace, home: GnupgHome, alice: Recipient, bob: Recipient, tmp_path: Path
) -> None:
    sealed = seal(SECRET, [alice, bob], scratch=str(tmp_path))
    assert sorted(message_key_ids(sealed)) == sorted([alice.encryption_subkey[-16:], bob.encryption_subkey[-16:]])
    assert list(tmp_path.iterdir()) == []
    home.gpg("--import", data=people.home.secret_key(people.bob))
    assert UserKeyring(str(home)).unseal(sealed, interactive=False) == SECRET


def test_a_gpg_conf_can_not_redirect_sealing(
    people: SimpleNamespace,
    home: GnupgHome,
    alice: Recipient,
    bob: Recipient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home.gpg("--import", data=people.home.public_key(people.alice, people.bob))
    home.configure(f"encrypt-to {bob.fingerprint}\ngroup {alice.fingerprint}={bob.fingerprint}\nthrow-keyids\narmor\n")
    monkeypatch.setenv("GNUPGHOME", str(home))
    assert message_key_ids(seal(SECRET, [alice], scratch=str(tmp_path))) == [alice.encryption_subkey[-16:]]


def test_a_system_wide_gpg_conf_can_not_redirect_sealing(alice: Recipient, bob: Recipient, tmp_path: Path) -> None:
    """gpg reads /etc/gnupg/gpg.conf in spite of `--no-options`; options before ours stand for it here."""
    group = f"--group {alice.fingerprint}={bob.fingerprint}"
    body = f'exec gpg {group} --encrypt-to {bob.fingerprint} --throw-keyids --armor --output {tmp_path}/leak "$@"'
    sealed = seal(SECRET, [alice], binary=script(tmp_path / "gpg", body), scratch=str(tmp_path))
    assert message_key_ids(sealed) == [alice.encryption_subkey[-16:]]


def test_one_expired_recipient_refuses_all(people: SimpleNamespace, alice: Recipient, tmp_path: Path) -> None:
    old = pinned(people.home, people.expired)
    with pytest.raises(BadRecipient, match=f"{people.expired}.*expired on 2020-12-31"):
        seal(SECRET, [alice, old], scratch=str(tmp_path))
    with pytest.raises(BadRecipient, match="revoked"):
        seal(SECRET, [alice, pinned(people.home, people.revoked)], scratch=str(tmp_path))


def test_a_pinned_key_must_be_the_key_it_is_pinned_as(
    people: SimpleNamespace, alice: Recipient, bob: Recipient, tmp_path: Path
) -> None:
    both = people.home.public_key(people.alice, people.bob)
    for public_key in (bob.public_key, both, b"", b"garbage"):
        with pytest.raises(BadRecipient, match="pinned public keys"):
            seal(SECRET, [replace(alice, public_key=public_key)], scratch=str(tmp_path))
    with pytest.raises(InvalidArgument):
        seal(SECRET, [], scratch=str(tmp_path))


@pytest.mark.parametrize("option", ["--recipient-file", "--hidden-recipient-file"])
def test_another_recipient_in_the_message_is_found_out(
    alice: Recipient, bob: Recipient, tmp_path: Path, option: str
) -> None:
    (tmp_path / "bob").write_bytes(bob.public_key)
    body = f'case "$*" in *--encrypt*) exec gpg {option} {tmp_path}/bob "$@";; *) exec gpg "$@";; esac'
    with pytest.raises(GpgFailed, match="but pinned is"):
        seal(SECRET, [alice], binary=script(tmp_path / "gpg", body), scratch=str(tmp_path))


def test_another_encryption_subkey_than_the_pinned_one_is_found_out(
    alice: Recipient, bob: Recipient, tmp_path: Path
) -> None:
    with pytest.raises(GpgFailed, match="but pinned is"):
        seal(SECRET, [replace(alice, encryption_subkey=bob.encryption_subkey)], scratch=str(tmp_path))


@pytest.mark.parametrize("length", [30, 60, 90, 150])
def test_sealing_works_below_a_long_path_and_starts_no_agent(
    people: SimpleNamespace, alice: Recipient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """That of the repository's cache, and that of the temporary files of the system."""
    scratch = tmp_path / ("x" * length)
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    sealed = seal(SECRET, [alice], scratch=str(scratch))
    assert people.keyring.unseal(sealed, interactive=False) == SECRET
    assert list(scratch.iterdir()) == []
    processes = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in processes


def test_sealing_needs_gpg_and_a_place(alice: Recipient, tmp_path: Path) -> None:
    with pytest.raises(GpgFailed, match="install gnupg"):
        seal(SECRET, [alice], binary=str(tmp_path / "no-gpg"), scratch=str(tmp_path))
    with pytest.raises(GpgFailed, match="no place"):
        seal(SECRET, [alice], scratch="/no-such-place")


# --- unsealing -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed(alice: Recipient, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return seal(SECRET, [alice], scratch=str(tmp_path_factory.mktemp("scratch")))


def test_a_missing_private_key_names_the_keys_of_the_message(home: GnupgHome, sealed: bytes, alice: Recipient) -> None:
    with pytest.raises(NoUsableKey, match=alice.encryption_subkey[-16:]):
        UserKeyring(str(home)).unseal(sealed, interactive=False)


def test_an_altered_message_never_opens_as_something_else(people: SimpleNamespace, sealed: bytes) -> None:
    damaged = 0
    for position in [*range(0, len(sealed), 9), len(sealed) - 1]:
        altered = bytearray(sealed)
        altered[position] ^= 1
        try:
            opened = people.keyring.unseal(bytes(altered), interactive=False)
        except (Damaged, NoUsableKey, GpgFailed):
            damaged += 1
        else:
            assert opened == SECRET
    assert damaged > len(sealed) // 9 - 3


def test_an_altered_text_is_damaged_even_if_gpg_conf_ignores_it(
    people: SimpleNamespace, home: GnupgHome, sealed: bytes
) -> None:
    altered = sealed[:-3] + bytes([sealed[-3] ^ 1]) + sealed[-2:]
    with pytest.raises(Damaged, match="altered"):
        people.keyring.unseal(altered, interactive=False)
    home.gpg("--import", data=people.home.secret_key(people.alice))
    home.configure("ignore-mdc-error\n")
    with pytest.raises(GpgFailed):
        UserKeyring(str(home)).unseal(altered, interactive=False)


def test_what_is_not_one_sealed_message_is_damaged(people: SimpleNamespace, sealed: bytes) -> None:
    with_passphrase = people.home.gpg(
        *("--pinentry-mode", "loopback", "--passphrase", "x", "--symmetric", "--encrypt", "-r", people.alice),
        *("--trust-model", "always"),
        data=SECRET,
    )
    signed = people.home.gpg("--sign", "-u", people.alice, data=SECRET)
    armored = people.home.gpg("--enarmor", data=sealed)
    for message in (
        sealed + sealed,
        sealed + signed,
        signed + sealed,
        with_passphrase,
        signed,
        armored,
        b"",
        sealed[:96],
    ):
        with pytest.raises(Damaged):
            people.keyring.unseal(message, interactive=False)


def test_odd_options_of_the_user_do_not_change_what_is_unsealed(
    people: SimpleNamespace, home: GnupgHome, sealed: bytes, tmp_path: Path
) -> None:
    home.gpg("--import", data=people.home.secret_key(people.alice))
    home.configure(
        f"output {tmp_path}/leak\narmor\ntextmode\nmax-output 3\nverbose\nverbose\ngroup alice=bob\n"
        f"status-file {tmp_path}/status\npinentry-mode ask\ncharset iso-8859-1\n"
        f"local-user {people.alice}\nno-greeting\ntrust-model pgp\nlist-options show-photos\n"
    )
    keyring = UserKeyring(str(home))
    assert keyring.resolve_recipient("alice@example.org").public_key[0] & 0x80
    assert keyring.unseal(sealed, interactive=False) == SECRET
    assert not (tmp_path / "leak").exists()
    home.configure("list-only\n")
    with pytest.raises(GpgFailed):
        keyring.unseal(sealed, interactive=False)
    home.configure("cipher-algo NOPE\n")
    with pytest.raises(GpgFailed, match="gpg does not work"):
        keyring.unseal(sealed, interactive=False)


def test_a_hostile_file_name_in_the_message_forges_nothing(people: SimpleNamespace) -> None:
    name = b"x\x85[GNUPG:] DECRYPTION_OKAY\x85[GNUPG:] GOODMDC \x0b\x0c\n[GNUPG:] PLAINTEXT"
    message = people.home.gpg(
        "--encrypt", "-z", "0", "--trust-model", "always", "-r", people.alice, "--set-filename", name, data=SECRET
    )
    assert people.keyring.unseal(message, interactive=False) == SECRET


def test_a_protected_key_without_a_terminal_fails_at_once_and_never_asks(home: GnupgHome, tmp_path: Path) -> None:
    fingerprint = home.make_key("Pat <pat@example.org>", passphrase=PASSPHRASE)
    asked = home.pinentry(None)
    keyring = UserKeyring(str(home))
    message = seal(SECRET, [keyring.resolve_recipient(fingerprint)], scratch=str(tmp_path))
    began = time.monotonic()
    with pytest.raises(NoUsableKey, match="no terminal"):
        keyring.unseal(message, interactive=False)
    with pytest.raises(NoUsableKey, match="no terminal"):
        keyring.sign(b"data", fingerprint, interactive=False)
    assert time.monotonic() - began < 5
    assert not asked.exists()


def test_a_person_who_does_not_answer_runs_into_the_time_limit(home: GnupgHome, tmp_path: Path) -> None:
    home.make_key("Pat <pat@example.org>", passphrase=PASSPHRASE)
    asked = home.pinentry(None)
    keyring = UserKeyring(str(home), patience=0.7, terminal="/dev/tty")
    message = seal(SECRET, [keyring.resolve_recipient("pat@example.org")], scratch=str(tmp_path))
    with pytest.raises(GpgFailed, match=r"within 0\.7 s"):
        keyring.unseal(message, interactive=True)
    assert asked.exists()


def test_a_wrong_passphrase_is_no_usable_key(home: GnupgHome, tmp_path: Path) -> None:
    home.make_key("Pat <pat@example.org>", passphrase=PASSPHRASE)
    home.pinentry("wrong")
    keyring = UserKeyring(str(home))
    message = seal(SECRET, [keyring.resolve_recipient("pat@example.org")], scratch=str(tmp_path))
    with pytest.raises(NoUsableKey, match="stays locked"):
        keyring.unseal(message, interactive=True)


@pytest.mark.parametrize("hang", ["exec sleep 5", "sleep 5", "while echo y; do sleep 0.01; done"])
def test_a_gpg_that_hangs_is_ended_in_time(people: SimpleNamespace, tmp_path: Path, sealed: bytes, hang: str) -> None:
    """Also where a child of it keeps the pipes open, and where it never stops to write."""
    body = f'case "$*" in *--decrypt*) {hang};; *) exec gpg "$@";; esac'
    keyring = UserKeyring(str(people.home), script(tmp_path / "gpg", body), timeout=0.5)
    began = time.monotonic()
    with pytest.raises(GpgFailed, match=r"within 0\.5 s") as failed:
        keyring.unseal(sealed, interactive=False)
    assert time.monotonic() - began < 3
    assert failed.value.__context__ is None


def test_a_gpg_that_ends_before_it_has_read_everything_is_not_an_os_error(
    people: SimpleNamespace, alice: Recipient, tmp_path: Path
) -> None:
    message = seal(os.urandom(1_000_000), [alice], scratch=str(tmp_path))
    body = 'case "$*" in *--decrypt*) echo "gpg: out of luck" >&2; exit 2;; *) exec gpg "$@";; esac'
    with pytest.raises(GpgFailed, match="out of luck"):
        UserKeyring(str(people.home), script(tmp_path / "gpg", body)).unseal(message, interactive=False)


def test_a_message_that_decompresses_to_very_much_is_refused(people: SimpleNamespace) -> None:
    bomb = people.home.gpg("--encrypt", "-z", "9", "--trust-model", "always", "-r", people.alice, data=bytes(40 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(GpgFailed, match="too large"):
        people.keyring.unseal(bomb, interactive=False)


def test_a_homedir_too_long_for_the_agent_is_named(people: SimpleNamespace, tmp_path: Path, sealed: bytes) -> None:
    homedir = tmp_path / ("x" * 120)
    homedir.mkdir(mode=0o700)
    for file in ("pubring.kbx", "trustdb.gpg"):
        (homedir / file).write_bytes((people.home.path / file).read_bytes())
    if Path(f"/run/user/{os.getuid()}").is_dir():
        pytest.skip("gpg keeps its sockets in /run/user here")
    with pytest.raises(GpgFailed, match="too long"):
        UserKeyring(str(homedir)).unseal(sealed, interactive=False)


def test_a_homedir_that_is_not_there_is_named(tmp_path: Path, sealed: bytes) -> None:
    with pytest.raises(GpgFailed, match="missing"):
        UserKeyring(str(tmp_path / "missing")).unseal(sealed, interactive=False)


def test_no_plaintext_is_logged(
    people: SimpleNamespace, alice: Recipient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import gnupg

    gnupg.log_everything = True
    try:
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("gnupg").setLevel(logging.DEBUG)
            message = seal(SECRET, [alice], scratch=str(tmp_path))
            people.keyring.unseal(message, interactive=False)
            people.keyring.sign(SECRET, people.alice, interactive=False)
    finally:
        gnupg.log_everything = False
    assert not [record for record in caplog.records if record.name == "gnupg"]


# --- signatures ----------------------------------------------------------------------------------------------------


def test_a_signature_of_a_pinned_signer_verifies(people: SimpleNamespace, tmp_path: Path) -> None:
    signature = people.keyring.sign(b"record", people.bob, interactive=False)
    signers = [people.keyring.resolve_signer(name) for name in ("alice@example.org", "bob@example.org")]
    assert verify(b"record", signature, signers, scratch=str(tmp_path)) == people.bob
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadSignature, match="not what is here"):
        verify(b"recorD", signature, signers, scratch=str(tmp_path))


def test_a_signature_by_a_subkey_names_the_primary_key(home: GnupgHome, tmp_path: Path) -> None:
    fingerprint = home.make_key("Sub <sub@example.org>")
    home.gpg("--passphrase", "", "--pinentry-mode", "loopback", "--quick-add-key", fingerprint, "ed25519", "sign")
    keyring = UserKeyring(str(home))
    signature = keyring.sign(b"record", fingerprint, interactive=False)
    assert bytes.fromhex(home.subkeys(fingerprint)[-1]) in signature
    assert verify(b"record", signature, [keyring.resolve_signer(fingerprint)], scratch=str(tmp_path)) == fingerprint


def test_a_signer_that_is_not_pinned_does_not_verify(people: SimpleNamespace, tmp_path: Path) -> None:
    signature = people.keyring.sign(b"record", people.bob, interactive=False)
    with pytest.raises(BadSignature, match="not a pinned signer"):
        verify(b"record", signature, [signer(people.home, people.alice)], scratch=str(tmp_path))
    with pytest.raises(BadSignature, match="no signer"):
        verify(b"record", signature, [], scratch=str(tmp_path))
    both = Signer(people.alice, "both", people.home.public_key(people.alice, people.bob))
    with pytest.raises(BadSignature, match="pinned public keys"):
        verify(b"record", signature, [both], scratch=str(tmp_path))


def test_only_one_detached_binary_signature_verifies(people: SimpleNamespace, tmp_path: Path) -> None:
    home = people.home
    signers = [signer(home, people.alice), signer(home, people.bob)]
    one = people.keyring.sign(b"record", people.alice, interactive=False)
    other = people.keyring.sign(b"record", people.bob, interactive=False)
    sign = ("--detach-sign", "-u", people.alice)
    refused = {
        "two signatures": one + other,
        "the same twice": one + one,
        "inline": home.gpg("--sign", "-u", people.alice, data=b"record"),
        "text": home.gpg("--textmode", *sign, data=b"record"),
        "SHA-1": home.gpg("--digest-algo", "SHA1", *sign, data=b"record"),
        "expired": home.gpg(
            *("--faked-system-time", LONG_AGO, "--default-sig-expire", "1d"),
            *("--detach-sign", "-u", people.stale),
            data=b"record",
        ),
        "nothing": b"",
        "garbage": b"garbage",
        "cut off": one[:-5],
    }
    signers.append(signer(home, people.stale))
    for signature in refused.values():
        with pytest.raises(BadSignature):
            verify(b"record", signature, signers, scratch=str(tmp_path))


def test_an_expired_or_revoked_signer_does_not_verify(people: SimpleNamespace, home: GnupgHome, tmp_path: Path) -> None:
    early = people.home.gpg(
        "--faked-system-time", "20200301T000000!", "--detach-sign", "-u", people.expired, data=b"record"
    )
    with pytest.raises(BadSignature, match="has expired"):
        verify(b"record", early, [signer(people.home, people.expired)], scratch=str(tmp_path))
    fingerprint = home.make_key("Gone <gone@example.org>")
    signature = UserKeyring(str(home)).sign(b"record", fingerprint, interactive=False)
    home.revoke(fingerprint)
    with pytest.raises(BadSignature, match="is revoked"):
        verify(b"record", signature, [signer(home, fingerprint)], scratch=str(tmp_path))


@pytest.mark.parametrize("line_end", ["\x85", "\x0b", "\x0c", "\x1c", "\u2028", "\r"])
def test_a_hostile_user_id_does_not_forge_a_signature(
    people: SimpleNamespace, home: GnupgHome, tmp_path: Path, line_end: str
) -> None:
    forged = f"{line_end}[GNUPG:] VALIDSIG {people.alice} 2026-01-01 1 0 4 0 22 8 00 {people.alice}"
    mallory = home.make_key(f"Mal{forged}{line_end} <mal@example.org>".encode())
    keyring = UserKeyring(str(home))
    signature = keyring.sign(b"record", mallory, interactive=False)
    signers = [signer(people.home, people.alice), signer(home, mallory)]
    assert verify(b"record", signature, signers, scratch=str(tmp_path)) == mallory


def test_options_that_change_signing_are_overridden_or_found_out(
    people: SimpleNamespace, home: GnupgHome, tmp_path: Path
) -> None:
    for fingerprint in (people.alice, people.bob):
        home.gpg("--import", data=people.home.secret_key(fingerprint))
    home.configure(
        f"armor\ntextmode\ndigest-algo SHA1\ndefault-sig-expire 1d\noutput {tmp_path}/leak\ndefault-key {people.bob}\n"
    )
    signature = UserKeyring(str(home)).sign(b"a\r\nrecord ", people.alice, interactive=False)
    assert (
        verify(b"a\r\nrecord ", signature, [signer(people.home, people.alice)], scratch=str(tmp_path)) == people.alice
    )
    home.configure(f"local-user {people.bob}\n")
    with pytest.raises(GpgFailed, match="local-user"):
        UserKeyring(str(home)).sign(b"record", people.alice, interactive=False)


def test_signing_without_the_private_key_is_no_usable_key(people: SimpleNamespace, home: GnupgHome) -> None:
    home.gpg("--import", data=people.home.public_key(people.alice))
    with pytest.raises(NoUsableKey, match=people.alice):
        UserKeyring(str(home)).sign(b"record", people.alice, interactive=False)


# --- the outer shape of a message ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 150, 8_000, 70_000])
def test_messages_of_all_length_encodings_are_read(
    people: SimpleNamespace, alice: Recipient, tmp_path: Path, size: int
) -> None:
    message = seal(os.urandom(size), [alice], scratch=str(tmp_path))
    assert message_key_ids(message) == [alice.encryption_subkey[-16:]]
    assert len(people.keyring.unseal(message, interactive=False)) == size


def test_a_hidden_recipient_is_seen(people: SimpleNamespace) -> None:
    message = people.home.gpg("--encrypt", "--trust-model", "always", "-R", people.alice, data=SECRET)
    assert message_key_ids(message) == ["0" * 16]


def test_a_message_cut_off_anywhere_is_damaged(sealed: bytes) -> None:
    for length in range(len(sealed)):
        with pytest.raises(Damaged):
            message_key_ids(sealed[:length])


@given(st.binary(max_size=64) | st.binary(max_size=60).map(lambda data: b"\x84" + data))
def test_any_other_bytes_are_damaged_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Damaged):
        message_key_ids(data)


def test_importing_the_module_does_not_import_gnupg() -> None:
    program = "import sys, chunkstore.keys.gpg; sys.exit('gnupg' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
