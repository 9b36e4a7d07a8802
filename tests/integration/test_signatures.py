"""Signed snapshots, with real gpg keys: who vouches, and that nobody else can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chunkstore.errors import BadSignature
from chunkstore.format.records import decode_record, encode_record, record_body, signed_bytes
from chunkstore.ids import ChunkId
from chunkstore.keys import gpg
from chunkstore.operations.signatures import require_signature
from chunkstore.repository.manifest_writer import Roots
from tests.gnupg_home import gnupg_home
from tests.sample_objects import make_record, make_world


def test_a_signature_vouches_for_one_record_of_one_repository(tmp_path: Path) -> None:
    with gnupg_home() as home:
        home.make_key("Signer <signer@example.org>")
        home.make_key("Other <other@example.org>")
        ring = gpg.UserKeyring(str(home.path))
        signer, other = ring.resolve_verifier("signer@example.org"), ring.resolve_verifier("other@example.org")
        world = make_world()
        record = make_record(world, Roots(ChunkId(bytes(32)), ChunkId(bytes(32))))
        body, repository_id = record_body(record), world.key.repository_id
        signature = ring.sign(signed_bytes(body, repository_id, record.id), signer.fingerprint, interactive=False)
        signed = decode_record(encode_record(body, signature), record.id)

        def by(*trusted: gpg.Signer):
            return lambda data, made: gpg.verify(data, made, trusted, scratch=str(tmp_path))

        assert require_signature(signed, repository_id, by(signer)) == signer.fingerprint
        with pytest.raises(BadSignature):
            require_signature(signed, repository_id, by(other))
        with pytest.raises(BadSignature):
            require_signature(signed, type(repository_id)(bytes(32)), by(signer))
        changed = record_body(replace(record, host="another"))
        with pytest.raises(BadSignature):
            require_signature(decode_record(encode_record(changed, signature), record.id), repository_id, by(signer))
        with pytest.raises(BadSignature, match="not signed"):
            require_signature(decode_record(encode_record(body, None), record.id), repository_id, by(signer))
