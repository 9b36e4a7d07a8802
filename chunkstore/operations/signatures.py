"""Who vouches for a snapshot: the optional signature of its record."""

from __future__ import annotations

from collections.abc import Callable

from chunkstore.errors import BadSignature
from chunkstore.format.records import SignedRecord, signed_bytes
from chunkstore.ids import RepositoryId

Verify = Callable[[bytes, bytes], str]
"""(data, detached signature) -> fingerprint of the trusted signer; `BadSignature` for any other."""


def require_signature(signed: SignedRecord, repository_id: RepositoryId, verify: Verify) -> str:
    """The fingerprint of the trusted key that signed this snapshot; `BadSignature` when none did."""
    if signed.signature is None:
        raise BadSignature(f"snapshot {signed.record.id[:8]} is not signed")
    return verify(signed_bytes(signed.body, repository_id, signed.record.id), signed.signature)
