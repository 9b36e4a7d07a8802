"""What the storage holds: nothing readable without a key, no name and no content for who holds the index key alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgpack
import pytest

from chunkstore.errors import Damaged, NoUsableKey
from chunkstore.format import envelope, names, pack
from chunkstore.format.kinds import ObjectKind
from chunkstore.ids import PackId
from chunkstore.keys.derivation import ChunkKind, IndexKey
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.places import Places
from chunkstore.repository.repository import Repository, open_repository
from chunkstore.storage import open_storage
from tests.command import Machine
from tests.trees import age, noise, plant, prose

LEDGER = (names.CONFIG, names.RECIPIENTS, "index/", names.SNAPSHOTS, names.SESSIONS, names.PLANS, names.AMENDMENTS)
PHRASE = b"the quick brown secret jumps over the lazy auditor "


@pytest.fixture(scope="module")
def written(initialised: Machine, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A repository after three snapshots, all names and pieces of content that were in them, and its key."""
    root = tmp_path_factory.mktemp("written")
    source = root / "source"
    nothing_of: set[bytes] = set()

    def name(what: str) -> bytes:
        nothing_of.add(f"unusual-{what}-name".encode())
        return f"unusual-{what}-name".encode()

    plant(
        source,
        {
            name("file"): PHRASE * 40,
            name("directory"): {
                name("nested"): {name("leaf"): noise(90_000), name("link"): "unusual-target-of-a-link"}
            },
            name("empty"): {},
            **{name(f"many-{number}"): prose(100, number) for number in range(400)},
        },
    )
    age(source)
    machine = initialised.copy_to(root / "machine")
    machine.snapshot(source, "--tag", "visible-tag", "--host", "visible-host")
    plant(source / "unusual-empty-name", {name("added-later"): PHRASE})
    machine.snapshot(source, "--host", "visible-host")
    machine.snapshot(source / "unusual-directory-name")
    nothing_of |= {b"unusual-target-of-a-link", PHRASE.strip(), noise(90_000)[:32], prose(100, 1)[:24]}
    nothing_of -= {b"unusual-directory-name"}  # it was a root of its own
    places = Places(machine.state / "chunkstore", machine.cache / "chunkstore")
    repository = open_repository(open_storage(str(machine.repository)), places, "read")
    return SimpleNamespace(machine=machine, repository=repository, key=repository.key, places=places, hidden=nothing_of)


def ledger_plaintexts(repository: Repository) -> Iterator[tuple[str, bytes]]:
    """Every ledger object there is, opened with the index key."""
    for prefix in LEDGER:
        for info in repository.storage.list(prefix):
            _, body = envelope.unseal(repository.storage.get(info.name), info.name, tuple(ObjectKind), repository.key)
            yield info.name, body


def packs(repository: Repository) -> Iterator[tuple[str, bytes, pack.PackInfo]]:
    for info in repository.storage.list(names.PACKS):
        data = repository.storage.get(info.name)
        pack_id = names.pack_id(info.name)
        assert pack_id is not None
        yield info.name, data, pack.read_pack(data, pack_id, info.name, repository.key)


def table_body(data: bytes, key: IndexKey) -> bytes:
    """The table at a pack's end, found as the format document says."""
    offset, length = int.from_bytes(data[-20:-12], "big"), int.from_bytes(data[-12:-8], "big")
    return envelope.unseal(data[offset : offset + length], pack.TABLE_NAME, (ObjectKind.PACK_TABLE,), key)[1]


def test_the_search_would_find_a_name(written: SimpleNamespace) -> None:
    """The control: what must be visible is, and the hidden things are what the test thinks they are."""
    bodies = b"".join(body for _, body in ledger_plaintexts(written.repository))
    assert b"visible-tag" in bodies
    assert b"visible-host" in bodies
    assert str(written.machine.root.parent / "source").encode() in bodies
    assert len(written.hidden) > 400


def test_no_name_and_no_content_stands_in_any_ledger_object(written: SimpleNamespace) -> None:
    opened = dict(ledger_plaintexts(written.repository))
    kinds = {name.split("/")[0] for name in opened}
    assert kinds == {"config", "recipients", "index", "snapshots"}
    for name, body in opened.items():
        assert not [hidden for hidden in written.hidden if hidden in body], name


def test_a_record_names_its_roots_and_nothing_below_them(written: SimpleNamespace) -> None:
    for name, body in ledger_plaintexts(written.repository):
        if name.startswith(names.SNAPSHOTS):
            record = msgpack.unpackb(msgpack.unpackb(body)["record"])
            assert len(record["roots"]) == 1
            assert not {"content", "entries", "files"} & record.keys()


def test_no_name_and_no_content_stands_in_any_pack_table(written: SimpleNamespace) -> None:
    counted = 0
    for name, data, info in packs(written.repository):
        body = table_body(data, written.key)
        assert len(msgpack.unpackb(body)["ids"]) == 32 * sum(len(frame.ids) for frame in info.frames)
        assert not [hidden for hidden in written.hidden if hidden in body], name
        counted += 1
    assert counted >= 4


def test_no_name_and_no_content_stands_in_any_reference_chunk(written: SimpleNamespace) -> None:
    """Every reference frame, through a reader that has the index key alone."""
    index = LocalIndex(written.places.cache_directory(written.key.repository_id) / "index.sqlite")
    try:
        sync_index(written.repository, index, Silent())
        reader = ChunkReader(written.repository, index, LedgerKeys(written.key))
        counted = {ChunkKind.REFERENCE: 0, ChunkKind.MANIFEST: 0, ChunkKind.CONTENT: 0}
        for name, _, info in packs(written.repository):
            for frame in info.frames:
                counted[frame.kind] += 1
                if frame.kind == ChunkKind.REFERENCE:
                    for chunk_id in frame.ids:
                        chunk = reader.read(ChunkKind.REFERENCE, chunk_id)
                        assert not [hidden for hidden in written.hidden if hidden in chunk], name
                        assert chunk[:1] == b"I" or msgpack.unpackb(chunk)[0] == "R"
                else:
                    with pytest.raises((NoUsableKey, Damaged)):
                        reader.read(frame.kind, frame.ids[0])
        assert all(counted.values()), counted
    finally:
        index.close()


def test_content_and_tree_packs_are_never_mixed(written: SimpleNamespace) -> None:
    kinds = {
        ObjectKind.CONTENT_PACK: {ChunkKind.CONTENT},
        ObjectKind.TREE_PACK: {ChunkKind.MANIFEST, ChunkKind.REFERENCE},
    }
    for name, _, info in packs(written.repository):
        assert {frame.kind for frame in info.frames} <= kinds[info.plane], name


def test_nothing_readable_stands_in_any_stored_byte(written: SimpleNamespace) -> None:
    """Not even what the ledger plane tells: roots, host, tags and the recipients' names are sealed too."""
    visible_to_clients = {
        b"visible-tag",
        b"visible-host",
        str(written.machine.root.parent).encode(),
        b"owner@example.org",
    }
    for name, data in written.machine.objects().items():
        found = [each for each in (*written.hidden, *visible_to_clients) if each in data]
        assert not found, (name, found)
        assert not any(each.decode("latin-1") in name for each in written.hidden)


def test_no_secret_of_the_client_stands_in_any_stored_byte(written: SimpleNamespace) -> None:
    key = written.key
    secrets = (key.id_secret, *key.ledger_secrets, *key.chunk_id_keys.values(), key.segment_cut_key)
    for name, data in written.machine.objects().items():
        assert not any(secret in data for secret in secrets), name


def test_the_state_of_a_client_holds_no_reading_key(written: SimpleNamespace) -> None:
    """What a thief of the machine gets opens the ledger plane alone: 32-byte secrets, of which none is the reading key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    (client,) = written.machine.state.rglob("client")
    data = client.read_bytes()
    public = written.key.reading_keys[-1]
    for at in range(len(data) - 31):
        assert X25519PrivateKey.from_private_bytes(data[at : at + 32]).public_key().public_bytes_raw() != public


def test_after_a_snapshot_no_session_is_left(written: SimpleNamespace) -> None:
    assert written.machine.names(names.SESSIONS) == set()


def test_pack_names_are_the_hashes_of_their_bytes(written: SimpleNamespace) -> None:
    """Looked at from outside, without the product's own check."""
    import hashlib

    for path in Path(written.machine.repository, "packs").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            assert PackId(bytes.fromhex(path.name)) in {info.pack_id for _, _, info in packs(written.repository)}
