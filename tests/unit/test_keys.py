"""The index key and what is derived from it; Sealer and Opener; keys as they are sealed to recipients."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from random import Random
from typing import Any

import msgpack
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.errors import Damaged, NoUsableKey, UnsupportedFormat
from chunkstore.format import client_state, sealed_keys
from chunkstore.format.pack import Slot, SlotType
from chunkstore.ids import RepositoryId
from chunkstore.keys.derivation import ChunkKind, IndexKey, LedgerGeneration, derive
from chunkstore.keys.opening import Opener, ReadingKey
from chunkstore.keys.sealing import FrameKey, SealedDataKey, Sealer, reading_key_id
from chunkstore.repository.chunk_reader import AllKeys, LedgerKeys
from chunkstore.repository.frames import OpenFrame, SealedFrame
from tests.sample_objects import data_slot, make_key, make_world, sample_chunks

SECRET = st.binary(min_size=32, max_size=32)
PROFILE = settings(derandomize=True, deadline=None, max_examples=60)
RANDOM = Random(11).randbytes


# -- derivation


def test_derivation_is_hkdf_with_our_salt_and_labels() -> None:
    """As written down in the module; a change of any of it is a new format."""

    def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
        return HKDF(SHA256(), length, b"chunkstore/1", info).derive(secret)

    key = IndexKey(b"\1" * 32, (b"\2" * 32, b"\3" * 32), (b"\4" * 32, b"\5" * 32))
    assert derive(b"\1" * 32, b"label", 20, b"bound") == hkdf(b"\1" * 32, b"label\0bound", 20)
    assert key.repository_id == hkdf(b"\1" * 32, b"repository id\0" + b"\4" * 32, 32)
    assert key.chunk_id_keys[ChunkKind.CONTENT] == hkdf(b"\1" * 32, b"chunk id content\0", 32)
    assert key.chunk_id_keys[ChunkKind.MANIFEST] == hkdf(b"\1" * 32, b"chunk id manifest\0", 32)
    assert key.chunk_id_keys[ChunkKind.REFERENCE] == hkdf(b"\1" * 32, b"chunk id reference\0", 32)
    assert key.chunker_seed == int.from_bytes(hkdf(b"\1" * 32, b"chunker seed\0", 8), "big") >> 1
    assert key.segment_cut_key == hkdf(b"\1" * 32, b"segment cut\0", 32)
    newest = key.newest_generation
    assert newest.key_id == hkdf(b"\3" * 32, b"ledger key id\0", 8)
    root = hkdf(b"\3" * 32, b"ledger root\0", 32)
    both = hkdf(root, b"ledger object\0salt", 64)
    assert (newest.object_key(b"salt").key, newest.object_key(b"salt").commitment) == (both[:32], both[32:])
    frames = hkdf(root, b"reference frames\0salt", 48)
    assert newest.reference_frame_key(b"salt") == (frames[:32], frames[32:])


@PROFILE
@given(SECRET, SECRET, st.binary(max_size=200))
def test_what_an_index_key_gives(id_secret: bytes, reading: bytes, data: bytes) -> None:
    key = IndexKey(id_secret, (bytes(32),), (reading,))
    assert 1 <= key.chunker_seed < 2**63
    ids = {key.chunk_id(kind, data) for kind in ChunkKind}
    assert len(ids) == 3
    assert blake3(data).digest() not in ids
    assert all(len(chunk_id) == 32 for chunk_id in ids)
    derived = [*key.chunk_id_keys.values(), key.segment_cut_key, key.repository_id, id_secret]
    assert len(set(derived)) == len(derived)


def test_a_seed_is_never_0(monkeypatch: pytest.MonkeyPatch) -> None:
    for drawn, seed in ((bytes(8), 1), (bytes(7) + b"\1", 1), (b"\xff" * 8, 2**63 - 1)):
        monkeypatch.setattr("chunkstore.keys.derivation.derive", lambda *_, drawn=drawn: drawn)
        assert IndexKey(bytes(32), (bytes(32),), (bytes(32),)).chunker_seed == seed


def test_the_repository_id_depends_on_the_first_reading_key_only() -> None:
    key = make_key(3)
    other = IndexKey(key.id_secret, key.ledger_secrets, (RANDOM(32),))
    assert other.repository_id != key.repository_id
    assert other.chunk_id_keys == key.chunk_id_keys
    rotated = IndexKey(key.id_secret, (*key.ledger_secrets, RANDOM(32)), (*key.reading_keys, RANDOM(32)))
    assert rotated.repository_id == key.repository_id
    assert rotated.newest_generation.key_id != key.newest_generation.key_id
    assert rotated.generation(key.newest_generation.key_id) == key.newest_generation


def test_a_generation_that_is_unknown_is_damage() -> None:
    with pytest.raises(Damaged, match="does not have"):
        make_key(3).generation(bytes(8))


def test_ledger_generations_and_salts_give_other_keys() -> None:
    one, two = LedgerGeneration(b"\1" * 32), LedgerGeneration(b"\2" * 32)
    keys = {generation.object_key(salt).key for generation in (one, two) for salt in (b"a" * 32, b"b" * 32)}
    keys |= {generation.reference_frame_key(salt)[0] for generation in (one, two) for salt in (b"a" * 32, b"b" * 32)}
    assert len(keys) == 8


@pytest.mark.parametrize(
    "parts",
    [
        (b"", (bytes(32),), (bytes(32),)),
        (bytes(31), (bytes(32),), (bytes(32),)),
        (bytes(32), (), (bytes(32),)),
        (bytes(32), (bytes(32),), ()),
        (bytes(32), (bytes(33),), (bytes(32),)),
        (bytes(32), (bytes(32), b""), (bytes(32),)),
        (bytes(32), (bytes(32),), (bytes(16),)),
    ],
)
def test_an_index_key_that_is_incomplete_is_damage(parts: tuple[bytes, tuple[bytes, ...], tuple[bytes, ...]]) -> None:
    with pytest.raises(Damaged):
        IndexKey(*parts)


# -- sealing and opening


def seal() -> tuple[FrameKey, SealedDataKey]:
    world = make_world()
    return Sealer(world.reading_key.public, world.key.repository_id, RANDOM).new_data_key()


def fresh_opener(*reading_keys: ReadingKey, repository_id: RepositoryId | None = None) -> Opener:
    world = make_world()
    return Opener(list(reading_keys) or [world.reading_key], repository_id or world.key.repository_id)


def test_a_data_key_is_sealed_in_80_bytes_and_opens() -> None:
    key, sealed = seal()
    assert (len(sealed.sealed), len(sealed.key_id), len(sealed.reading_key_id), len(key.key)) == (80, 16, 16, 32)
    opener = fresh_opener(ReadingKey.generate(RANDOM), make_world().reading_key)
    assert opener.open(sealed) == key
    assert opener.open(sealed) == key


def test_two_sealings_share_nothing() -> None:
    (one, sealed_one), (two, sealed_two) = seal(), seal()
    assert one.key != two.key
    assert one.key_id != two.key_id
    assert sealed_one.sealed[:32] != sealed_two.sealed[:32]
    assert one.key not in sealed_one.sealed


def test_the_same_data_key_sealed_twice_has_another_ciphertext() -> None:
    world = make_world()
    sealer = Sealer(world.reading_key.public, world.key.repository_id, lambda size: bytes(size))
    (one, sealed_one), (two, sealed_two) = sealer.new_data_key(), sealer.new_data_key()
    assert one == two
    assert sealed_one.sealed != sealed_two.sealed


def test_an_opener_refuses_what_is_sealed_for_another_repository() -> None:
    _, sealed = seal()
    with pytest.raises(Damaged):
        fresh_opener(repository_id=RepositoryId(bytes(32))).open(sealed)


def test_an_opener_refuses_what_is_sealed_to_another_reading_key() -> None:
    _, sealed = seal()
    other = ReadingKey.generate(RANDOM)
    with pytest.raises(NoUsableKey):
        fresh_opener(other).open(sealed)
    with pytest.raises(Damaged):
        fresh_opener(other).open(replace(sealed, reading_key_id=other.key_id))
    with pytest.raises(NoUsableKey):
        Opener([], make_world().key.repository_id).open(sealed)


def test_every_changed_byte_and_length_of_a_sealed_data_key_is_damage() -> None:
    _, sealed = seal()
    for at in range(80):
        changed = bytearray(sealed.sealed)
        changed[at] ^= 1 + at
        with pytest.raises(Damaged):
            fresh_opener().open(replace(sealed, sealed=bytes(changed)))
    for size in (0, 1, 31, 32, 33, 48, 79):
        with pytest.raises(Damaged):
            fresh_opener().open(replace(sealed, sealed=sealed.sealed[:size]))
    for strange in (bytes(80), sealed.sealed + b"\0", b"\1" + bytes(79), b"\xff" * 80):
        with pytest.raises(Damaged):
            fresh_opener().open(replace(sealed, sealed=strange))


def _open_until_interrupted(sealed: SealedDataKey, microseconds: int) -> None:
    signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
    while True:
        fresh_opener().open(sealed)


def test_an_interrupt_while_a_data_key_is_opened_is_not_taken_for_damage() -> None:
    """The library turns whatever a signal's handler raises within it into "not authentic"."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    _, sealed = seal()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for microseconds in range(1, 300, 2):
            with pytest.raises(KeyboardInterrupt):
                _open_until_interrupted(sealed, microseconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_data_key_under_another_id_is_damage() -> None:
    _, sealed = seal()
    with pytest.raises(Damaged, match="not the one"):
        fresh_opener().open(replace(sealed, key_id=bytes(16)))
    _, other = seal()
    with pytest.raises(Damaged, match="not the one"):
        fresh_opener().open(replace(sealed, key_id=other.key_id))


def test_a_sealed_secret_of_another_length_is_damage() -> None:
    world = make_world()
    sealer = Sealer(world.reading_key.public, world.key.repository_id, lambda size: bytes(16))
    _, sealed = sealer.new_data_key()
    with pytest.raises(Damaged):
        fresh_opener().open(sealed)


def reachable(root: object) -> Iterator[object]:
    """Everything an object refers to, but for types, modules and functions."""
    seen, left = set(), [root]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type) or type(each).__name__ in ("module", "function"):
            continue
        seen.add(id(each))
        yield each
        left += gc.get_referents(each)
        left += vars(each).values() if hasattr(each, "__dict__") else ()


def test_a_sealer_holds_nothing_that_opens() -> None:
    world = make_world()
    sealer = Sealer(world.reading_key.public, world.key.repository_id, lambda size: Random(1).randbytes(size))
    key, _ = sealer.new_data_key()
    held = list(reachable(sealer))
    assert not [each for each in held if isinstance(each, X25519PrivateKey | ReadingKey | Opener)]
    secrets = {key.key, world.reading_key.secret_bytes(), world.key.id_secret, *world.key.ledger_secrets}
    assert not [each for each in held if isinstance(each, bytes) and each in secrets]
    assert not [name for name in dir(sealer) if "open" in name or "decrypt" in name]


def test_a_reading_key_is_named_by_its_public_half() -> None:
    key = ReadingKey.generate(RANDOM)
    assert key.key_id == reading_key_id(key.public)
    assert ReadingKey(key.secret_bytes()).public == key.public
    for size in (0, 31, 33):
        with pytest.raises(Damaged):
            ReadingKey(bytes(size))


# -- key slots


def ledger_slot(key: IndexKey, salt: bytes) -> Slot:
    generation = key.newest_generation
    _, key_id = generation.reference_frame_key(salt)
    return Slot(SlotType.LEDGER, key_id, generation.key_id.ljust(16, b"\0"), salt.ljust(80, b"\0"))


def test_the_index_key_opens_ledger_slots_only() -> None:
    world = make_world()
    keys = LedgerKeys(world.key)
    slot = ledger_slot(world.key, b"s" * 32)
    key, key_id = world.key.newest_generation.reference_frame_key(b"s" * 32)
    assert keys.frame_key(slot) == FrameKey(key_id, key) == AllKeys(world.key, world.opener).frame_key(slot)
    assert keys.frame_key(slot).key == key
    with pytest.raises(NoUsableKey):
        keys.frame_key(data_slot(world))
    assert AllKeys(world.key, world.opener).frame_key(data_slot(world)).key_id == data_slot(world).key_id


@pytest.mark.parametrize(
    "changes", [{"key_id": bytes(16)}, {"opener": bytes(16)}, {"sealed": bytes(80)}, {"sealed": b""}, {"opener": b""}]
)
def test_a_changed_ledger_slot_is_damage(changes: dict[str, bytes]) -> None:
    world = make_world()
    slot = replace(ledger_slot(world.key, b"s" * 32), **changes)  # type: ignore[arg-type]
    with pytest.raises(Damaged):
        LedgerKeys(world.key).frame_key(slot)


# -- keys as they are sealed to the recipients


def test_the_index_bundle_comes_back() -> None:
    key = IndexKey(RANDOM(32), (RANDOM(32),), (RANDOM(32),))
    plaintext = sealed_keys.index_bundle(key)
    assert plaintext.startswith(b"chunkstore key 1\1" + key.repository_id + key.repository_id[:16])
    assert sealed_keys.read_index_bundle(plaintext, key.repository_id) == key


@pytest.mark.parametrize(("ledger", "reading"), [(2, 1), (1, 2)])
def test_a_bundle_with_further_keys_is_refused(ledger: int, reading: int) -> None:
    """The repository id binds the first reading key alone: further ones could be those of a thief of the id secret."""
    key = IndexKey(RANDOM(32), tuple(RANDOM(32) for _ in range(ledger)), tuple(RANDOM(32) for _ in range(reading)))
    with pytest.raises(UnsupportedFormat, match="rotated"):
        sealed_keys.read_index_bundle(sealed_keys.index_bundle(key), key.repository_id)


def test_the_reading_key_comes_back() -> None:
    world = make_world()
    repository_id = world.key.repository_id
    plaintext = sealed_keys.reading_key(world.reading_key, repository_id)
    found = sealed_keys.read_reading_key(plaintext, repository_id, world.reading_key.key_id)
    assert found.secret_bytes() == world.reading_key.secret_bytes()
    assert world.reading_key.key_id == sealed_keys.newest_reading_key_id(world.key)


def test_every_changed_byte_of_a_plaintext_is_damage() -> None:
    """Of a key itself a change shows too, as its id or the repository's is derived from it; ledger secrets are free."""
    world = make_world()
    repository_id, key_id = world.key.repository_id, world.reading_key.key_id
    bundle = sealed_keys.index_bundle(world.key)
    reading = sealed_keys.reading_key(world.reading_key, repository_id)
    clamped = reading.index(world.reading_key.secret_bytes())
    ledger = bundle.index(world.key.ledger_secrets[0])
    for at in range(len(bundle)):
        if not ledger <= at < ledger + 32:
            with pytest.raises(Damaged):
                sealed_keys.read_index_bundle(_flipped(bundle, at), repository_id)
    for at in range(len(reading)):
        if at not in (clamped, clamped + 31):  # X25519 ignores some bits of these
            with pytest.raises(Damaged):
                sealed_keys.read_reading_key(_flipped(reading, at), repository_id, key_id)
    for size in range(len(bundle)):
        with pytest.raises(Damaged):
            sealed_keys.read_index_bundle(bundle[:size], repository_id)
    for size in range(len(reading)):
        with pytest.raises(Damaged):
            sealed_keys.read_reading_key(reading[:size], repository_id, key_id)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_a_sealed_key_is_not_taken_for_another() -> None:
    one, two = make_world(1), make_world(2)
    mine = one.key.repository_id
    bundle = sealed_keys.index_bundle(one.key)
    reading = sealed_keys.reading_key(one.reading_key, mine)
    refusals: list[Any] = [
        lambda: sealed_keys.read_index_bundle(sealed_keys.index_bundle(two.key), mine),
        lambda: sealed_keys.read_index_bundle(bundle, two.key.repository_id),
        lambda: sealed_keys.read_index_bundle(reading, mine),
        lambda: sealed_keys.read_reading_key(bundle, mine, one.reading_key.key_id),
        lambda: sealed_keys.read_reading_key(reading, two.key.repository_id, one.reading_key.key_id),
        lambda: sealed_keys.read_reading_key(reading, mine, two.reading_key.key_id),
        lambda: sealed_keys.read_reading_key(
            sealed_keys.reading_key(two.reading_key, mine), mine, one.reading_key.key_id
        ),
    ]
    head = bundle[:65]
    forged = {"id": two.key.id_secret, "ledger": [bytes(32)], "reading": [bytes(32)]}
    refusals.append(lambda: sealed_keys.read_index_bundle(head + msgpack.packb(forged), mine))
    for refusal in refusals:
        with pytest.raises(Damaged):
            refusal()


# -- secrets are not shown


def _dataclasses() -> list[object]:
    world = make_world()
    key, state = world.key, world.repository.state
    frame_key, sealed = seal()
    buffer = bytearray(sample_chunks()[1])
    frame = OpenFrame(ChunkKind.CONTENT, buffer, len(buffer))
    return [
        key,
        key.newest_generation,
        key.newest_generation.object_key(bytes(32)),
        state,
        world.repository,
        frame_key,
        sealed,
        world.reading_key,
        world.opener,
        Sealer(world.reading_key.public, key.repository_id, RANDOM),
        LedgerKeys(key),
        AllKeys(key, world.opener),
        frame,
        SealedFrame(frame, bytearray(3)),
    ]


@pytest.mark.parametrize("at", range(len(_dataclasses())))
def test_secrets_are_not_in_a_repr(at: int) -> None:
    world = make_world()
    key = world.key
    each = _dataclasses()[at]
    secrets = [key.id_secret, *key.ledger_secrets, world.reading_key.secret_bytes(), b"a line of a log"]
    secrets += [key.newest_generation.object_key(bytes(32)).key, key.chunk_id_keys[ChunkKind.CONTENT]]
    secrets += [each.key] if isinstance(each, FrameKey) else []
    key.newest_generation.key_id  # derived and cached by now
    shown = repr(each) + str(each)
    for secret in secrets:
        assert repr(bytes(secret))[2:-1] not in shown
        assert bytes(secret).hex() not in shown


def test_the_state_of_a_client_comes_back() -> None:
    state = make_world().repository.state
    assert client_state.decode(client_state.encode(state)) == state
    assert is_dataclass(state)
    assert {each.name for each in fields(state)} == {
        "key", "recipients", "messages", "client", "sequence", "previous", "config", "generation",
    }  # fmt: skip
    newer = msgpack.packb({**msgpack.unpackb(client_state.encode(state)), "version": 2})
    with pytest.raises(Damaged, match="another version"):
        client_state.decode(newer)
