"""Make a repository, or make this machine a client of one that exists."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from chunkstore.chunking import ChunkerParameters, make_chunker
from chunkstore.errors import ChunkstoreError, Damaged, RepositoryExists, StorageError, UntrustedRepository
from chunkstore.format import envelope, names, sealed_keys
from chunkstore.format.client_state import ClientState
from chunkstore.format.config import (
    DEFAULT_FRAME_SIZE,
    DEFAULT_PACK_SIZE,
    Config,
    RecipientEntry,
    Recipients,
    decode_recipients,
    encode_config,
    encode_recipients,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import KeyMessages
from chunkstore.format.records import CLIENT_ID_SIZE
from chunkstore.format.sealed_keys import SealedKey, SealedKind, bundle_id
from chunkstore.ids import RandomBytes, RepositoryId
from chunkstore.keys.derivation import IndexKey
from chunkstore.keys.opening import ReadingKey
from chunkstore.operations.opening import newest_key_object
from chunkstore.repository.places import Places, load_state, save_state
from chunkstore.repository.repository import (
    Repository,
    Surroundings,
    gone_back,
    highest,
    newest_config,
    read_repository_id,
)
from chunkstore.storage import Storage, entries
from chunkstore.tree.display import display_path

Seal = Callable[[bytes], bytes]
"""Plaintext -> OpenPGP message for exactly the recipients."""
Unseal = Callable[[bytes], bytes]
"""OpenPGP message -> plaintext, with the user's private key."""
Confirm = Callable[[RepositoryId], bool]
"""Whether this is the repository that is meant."""

_LEFT_OVER = (names.KEYS, names.RECIPIENTS, "probe-")


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What is fixed when a repository is made; sizes in bytes."""

    chunker: ChunkerParameters
    frame_size: int = DEFAULT_FRAME_SIZE
    pack_size: int = DEFAULT_PACK_SIZE


def init(
    storage: Storage, recipients: Sequence[RecipientEntry], seal: Seal, options: InitOptions, around: Surroundings
) -> Repository:
    """Make a repository whose reading key is sealed to `recipients`, and this machine its first client.

    The config is put last and decides: a broken run leaves no repository, and of two at once one wins. Raises
    `RepositoryExists` where one is, or where something else is.
    """
    require_vacant(storage)
    make_chunker(options.chunker, seed=1)  # an algorithm that is not installed is refused now, not in a year
    random_bytes = around.random_bytes
    reading_key = ReadingKey.generate(random_bytes)
    key = IndexKey.generate(reading_key.public, random_bytes)
    repository_id = key.repository_id
    messages = KeyMessages(
        seal(sealed_keys.reading_key(reading_key, repository_id)), seal(sealed_keys.index_bundle(key))
    )
    config = Config(
        number=0,
        repository_id=repository_id,
        chunker=str(options.chunker),
        frame_size=options.frame_size,
        pack_size=options.pack_size,
        features=(),
        conditional_writes=probe_conditional_writes(storage, random_bytes),
        previous=b"",
    )
    pinned = Recipients(0, tuple(recipients), b"", None)
    client = random_bytes(CLIENT_ID_SIZE)
    state = ClientState(key, pinned, messages, client, sequence=0, previous=b"", config=0, generation=0)
    repository = Repository(storage, state, config)
    _put_keys(storage, messages, reading_key.key_id, repository_id)
    # Left-overs of a broken run are replaced: without a config nobody relies on them.
    name = names.recipients(0)
    storage.put(name, repository.seal(ObjectKind.RECIPIENTS, name, encode_recipients(pinned), random_bytes))
    save_state(around.places, state)
    if not repository.create(ObjectKind.CONFIG, names.config(0), encode_config(config), random_bytes):
        raise RepositoryExists(f"somebody else made a repository at {storage.location} at the same time")
    return repository


def require_vacant(storage: Storage) -> None:
    """`RepositoryExists` where a repository is, or anything but what a broken `init` may have left.

    Not only objects: somebody's photographs have names that no object can have, and are in no listing of objects.
    """
    if highest(storage, names.CONFIG) is not None:
        raise RepositoryExists(
            f"there is a repository at {storage.location} already. Use it as it is; "
            "on a machine that is not its client yet run `chunkstore join`"
        )
    # `config/` is empty, or the listing would have shown what is in it.
    found = chain((info.name for info in storage.list("")), (each for each in entries(storage) if each != names.CONFIG))
    strange = next((name for name in found if not name.startswith(_LEFT_OVER)), None)
    if strange is not None:
        shown = display_path(strange.encode(errors="surrogateescape"))
        raise RepositoryExists(f"{storage.location} is not empty: it holds {shown}. Choose another place")


def probe_conditional_writes(storage: Storage, random_bytes: RandomBytes) -> bool:
    """Whether put-if-absent keeps what was there: some stores ignore the condition."""
    name = f"probe-{random_bytes(16).hex()}"
    try:
        first = storage.put_if_absent(name, b"first")
        return first and not storage.put_if_absent(name, b"second") and bytes(storage.get(name)) == b"first"
    finally:
        with contextlib.suppress(StorageError):  # who may only add leaves the probe behind, which harms nobody
            storage.delete(name)


def _put_keys(storage: Storage, messages: KeyMessages, reading_key_id: bytes, repository_id: RepositoryId) -> None:
    for key in (
        SealedKey(SealedKind.INDEX_BUNDLE, bundle_id(repository_id), messages.index_bundle),
        SealedKey(SealedKind.READING_KEY, reading_key_id, messages.reading_key),
    ):
        storage.put(names.sealed_key(key.key_id, 0), sealed_keys.encode(key, repository_id))


def join(
    storage: Storage, fingerprint: RepositoryId | None, confirm: Confirm, unseal: Unseal, around: Surroundings
) -> Repository:
    """Make this machine a client: fetch the index key with the private key, and pin it.

    The storage is not believed: the repository's id must be `fingerprint`, or be confirmed by a person; and the key
    that comes out of the message must derive to that id. Raises `UntrustedRepository` otherwise.
    """
    repository_id = read_repository_id(storage)
    if fingerprint is not None and fingerprint != repository_id:
        raise UntrustedRepository(
            f"the repository at {storage.location} has the fingerprint {repository_id.hex()}, "
            f"not {fingerprint.hex()}: it is another one than you mean, or somebody replaced it"
        )
    if fingerprint is None and not confirm(repository_id):
        raise UntrustedRepository("not confirmed: compare the fingerprint with the one that `init` showed")
    bundle = newest_key_object(storage, bundle_id(repository_id), repository_id)
    key = sealed_keys.read_index_bundle(unseal(bundle.message), repository_id)
    number, config = newest_config(storage, key)
    reading_key_id = sealed_keys.newest_reading_key_id(key)
    reading = newest_key_object(storage, reading_key_id, repository_id)
    # Every pack of this client will carry this message: it must hold the secret half of the key that is sealed to.
    sealed_keys.read_reading_key(unseal(reading.message), repository_id, reading_key_id)
    before = _who_it_was(around.places, repository_id)
    state = ClientState(
        key=key,
        recipients=_recipients(storage, key),
        messages=KeyMessages(reading.message, bundle.message),
        client=before.client if before else around.random_bytes(CLIENT_ID_SIZE),
        sequence=before.sequence if before else 0,
        previous=before.previous if before else b"",
        config=number,
        generation=before.generation if before else 0,
    )
    if before and number < before.config:
        raise gone_back(before.config, number)
    save_state(around.places, state)
    return Repository(storage, state, config)


def _who_it_was(places: Places, repository_id: RepositoryId) -> ClientState | None:
    """The client this machine is already, if its state can be read."""
    try:
        return load_state(places, repository_id)
    except (ChunkstoreError, OSError):
        return None


def _recipients(storage: Storage, key: IndexKey) -> Recipients:
    number = highest(storage, names.RECIPIENTS)
    if number is None:
        raise Damaged("the list of recipients is missing", names.RECIPIENTS)
    name = names.recipients(number)
    _, body = envelope.unseal(storage.get(name), name, (ObjectKind.RECIPIENTS,), key)
    return decode_recipients(body, number)
