"""What a client keeps about a repository, in one file of its state directory (mode 0600). Not part of the repository.

A msgpack map: `version` 1, `id_secret`, `ledger_secrets`, `reading_keys`, `recipients` (the body of the pinned
`recipients/<n>`), `recipients_number`, `reading_message`, `bundle_message` (the OpenPGP messages that packs carry), `client`
(16 random bytes), `sequence` (of the next record), `previous` (digest of the last record), `config`, `generation` (highest
numbers seen).
"""

from __future__ import annotations

from dataclasses import dataclass

from chunkstore.errors import Damaged
from chunkstore.format.config import Recipients, decode_recipients, encode_recipients
from chunkstore.format.pack import KeyMessages
from chunkstore.format.records import CLIENT_ID_SIZE
from chunkstore.format.wire import field, fixed_bytes, items, natural, pack, unpack_fields
from chunkstore.keys.derivation import SECRET_SIZE, IndexKey

VERSION = 1


@dataclass(frozen=True, slots=True)
class ClientState:
    """The index key, who is pinned, and what must not go backwards."""

    key: IndexKey
    recipients: Recipients
    messages: KeyMessages
    client: bytes
    sequence: int
    previous: bytes
    config: int
    generation: int


def encode(state: ClientState) -> bytes:
    return pack(
        {
            "version": VERSION,
            "id_secret": state.key.id_secret,
            "ledger_secrets": list(state.key.ledger_secrets),
            "reading_keys": list(state.key.reading_keys),
            "recipients": encode_recipients(state.recipients),
            "recipients_number": state.recipients.number,
            "reading_message": state.messages.reading_key,
            "bundle_message": state.messages.index_bundle,
            "client": state.client,
            "sequence": state.sequence,
            "previous": state.previous,
            "config": state.config,
            "generation": state.generation,
        }
    )


def decode(data: bytes) -> ClientState:
    """The state; `Damaged` when the file is not as `encode` wrote it."""
    fields = unpack_fields(data)
    if natural(fields, "version") != VERSION:
        raise Damaged("local state was written by another version of chunkstore")
    key = IndexKey(
        fixed_bytes(fields, "id_secret", SECRET_SIZE),
        items(fields, "ledger_secrets", bytes),
        items(fields, "reading_keys", bytes),
    )
    return ClientState(
        key=key,
        recipients=decode_recipients(field(fields, "recipients", bytes), natural(fields, "recipients_number")),
        messages=KeyMessages(field(fields, "reading_message", bytes), field(fields, "bundle_message", bytes)),
        client=fixed_bytes(fields, "client", CLIENT_ID_SIZE),
        sequence=natural(fields, "sequence"),
        previous=field(fields, "previous", bytes),
        config=natural(fields, "config"),
        generation=natural(fields, "generation"),
    )
