"""Opening the content plane with the private key."""

from __future__ import annotations

from collections.abc import Callable

from chunkstore.errors import Damaged, NoUsableKey, ObjectMissing, UnsupportedFormat
from chunkstore.format import names, sealed_keys
from chunkstore.format.sealed_keys import SealedKey
from chunkstore.ids import RepositoryId
from chunkstore.keys.opening import Opener, ReadingKey
from chunkstore.keys.sealing import reading_key_id
from chunkstore.repository.repository import Repository
from chunkstore.storage import Storage

Unseal = Callable[[bytes], bytes]


def newest_key_object(storage: Storage, key_id: bytes, repository_id: RepositoryId) -> SealedKey:
    """The newest sealing of this key. `Damaged` when there is none that is whole."""
    prefix = f"{names.KEYS}{key_id.hex()}."
    damage: Damaged | UnsupportedFormat = Damaged("a sealed key is missing", prefix)
    for name in sorted((info.name for info in storage.list(prefix)), reverse=True):
        try:
            sealed = sealed_keys.decode(storage.get(name), name, repository_id)
        except (Damaged, UnsupportedFormat, ObjectMissing) as e:
            damage = damage if isinstance(e, ObjectMissing) else e
            continue
        if sealed.key_id == key_id:
            return sealed
    raise damage


def open_content(repository: Repository, unseal: Unseal) -> Opener:
    """The opener of all reading keys of the repository; one private-key operation for each.

    Raises `NoUsableKey`, with the keys that would open it.
    """
    key = repository.key
    reading_keys = []
    try:
        for public in key.reading_keys:
            reading_keys.append(_open_reading_key(repository, reading_key_id(public), unseal))
    except NoUsableKey as e:
        raise NoUsableKey(f"{e}\n{who_can_read(repository)}") from e
    return Opener(reading_keys, key.repository_id)


def who_can_read(repository: Repository) -> str:
    """The recipients, for messages."""
    lines = [f"  {each.fingerprint}  {each.user_id}" for each in repository.state.recipients.entries]
    return "The repository opens with the private key of any of:\n" + "\n".join(lines)


def _open_reading_key(repository: Repository, key_id: bytes, unseal: Unseal) -> ReadingKey:
    """From the repository; where its copy is missing, damaged or for others, from the one kept on this machine."""
    repository_id = repository.key.repository_id
    newest = reading_key_id(repository.key.reading_keys[-1])
    kept = repository.state.messages.reading_key if key_id == newest else None
    try:
        stored = newest_key_object(repository.storage, key_id, repository_id).message
    except Damaged:
        if kept is None:
            raise
        stored = kept
    try:
        plaintext = unseal(stored)
    except (NoUsableKey, Damaged):
        if kept is None or kept == stored:
            raise
        plaintext = unseal(kept)
    return sealed_keys.read_reading_key(plaintext, repository_id, key_id)
