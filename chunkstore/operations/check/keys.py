"""Config, recipients and sealed keys: the chains that say what the repository is and who can read it."""

from __future__ import annotations

from chunkstore.errors import Damaged
from chunkstore.format import names, sealed_envelope
from chunkstore.format.config import body_digest, decode_config, decode_recipients
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.sealed_envelope import bundle_id
from chunkstore.keys.sealing import reading_key_id
from chunkstore.operations.check.findings import Kind, damage, note
from chunkstore.operations.check.looking import Looking
from chunkstore.storage import ObjectInfo

_Link = tuple[int, bytes, bytes]
"""Number, what it names as its previous one, and the digest of its own body."""


def check_keys(looking: Looking) -> None:
    """Look at all three."""
    _check_chain(looking, Kind.CONFIG, names.CONFIG, _read_config)
    links = _check_chain(looking, Kind.RECIPIENTS, names.RECIPIENTS, _read_recipients)
    if not links and not any(True for _ in looking.repository.storage.list(names.RECIPIENTS)):
        looking.report(damage(Kind.RECIPIENTS, names.recipients(0), "is missing: nobody can tell who can read"))
    _check_sealed_keys(looking)


def _number(info: ObjectInfo, prefix: str) -> int:
    number = names.number(info.name, prefix)
    assert number is not None
    return number


def _read_config(looking: Looking, info: ObjectInfo, data: bytes) -> _Link:
    _, body = looking.body(info, data, ObjectKind.CONFIG)
    config = decode_config(body, _number(info, names.CONFIG))
    if config.repository_id != looking.repository.key.repository_id:
        raise Damaged("names another repository")
    return config.number, config.previous, body_digest(body)


def _read_recipients(looking: Looking, info: ObjectInfo, data: bytes) -> _Link:
    _, body = looking.body(info, data, ObjectKind.RECIPIENTS)
    recipients = decode_recipients(body, _number(info, names.RECIPIENTS))
    return recipients.number, recipients.previous, body_digest(body)


def _check_chain(looking: Looking, kind: Kind, prefix: str, read: object) -> dict[int, _Link]:
    """The links that can be read. Each must follow from the one before it, where that is there."""
    assert callable(read)
    links: dict[int, _Link] = {
        link[0]: link for _, link in looking.readable(prefix, kind, lambda info, data: read(looking, info, data))
    }
    for number, previous, _ in links.values():
        before = links.get(number - 1)
        if (before is not None and previous != before[2]) or (not number and previous):
            looking.report(damage(kind, f"{prefix}{number:016d}", "does not follow from the one before it"))
    return links


def _check_sealed_keys(looking: Looking) -> None:
    key = looking.repository.key
    found: set[bytes] = set()

    def read(info: ObjectInfo, data: bytes) -> bytes:
        sealed = sealed_envelope.decode(data, info.name, key.repository_id)
        if not info.name.startswith(f"{names.KEYS}{sealed.key_id.hex()}."):
            raise Damaged("is another key than its name says")
        return sealed.key_id

    found.update(key_id for _, key_id in looking.readable(names.KEYS, Kind.KEY, read))
    needed = {bundle_id(key.repository_id): "the index bundle, without which nobody can join"}
    needed |= {reading_key_id(each): "a reading key, without which nobody can read" for each in key.reading_keys}
    for key_id, what in needed.items():
        prefix = f"{names.KEYS}{key_id.hex()}."
        if key_id not in found and not any(True for _ in looking.repository.storage.list(prefix)):
            looking.report(damage(Kind.KEY, f"{prefix}0000", f"is missing: {what}"))
    for key_id in found - needed.keys():
        looking.report(note(Kind.KEY, f"{names.KEYS}{key_id.hex()}", "is no key of this repository's clients"))
