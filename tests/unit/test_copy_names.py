"""Names of owners in a copy are those that the source has, entry by entry."""

from __future__ import annotations

from chunkstore.format.entries import FILE, Entry, decode_segment
from chunkstore.format.owners import Owners
from chunkstore.ids import ChunkId
from chunkstore.operations.copy.run import NamesThere
from chunkstore.repository.manifest_writer import ManifestWriter


class Chunks:
    """Stores nothing."""

    def add(self, kind: object, data: bytes | memoryview) -> ChunkId:
        return ChunkId(b"i" * 32)


class Log:
    """The names in each segment."""

    def __init__(self) -> None:
        self.names: list[tuple[dict[int, str], dict[int, str]]] = []

    def ids(self, ids: bytes) -> None:
        pass

    def segment(self, ref: object, data: bytes) -> None:
        owners, _ = decode_segment(data)
        self.names.append((owners.users, owners.groups))


def names_of(*owners: Owners) -> list[tuple[dict[int, str], dict[int, str]]]:
    """What the segments say that are written for files of user 1 and group 1, with these owners one after the other."""
    log, names = Log(), NamesThere()
    manifest = ManifestWriter(Chunks(), b"k" * 32, log, names)
    for number, each in enumerate(owners):
        entry = Entry(b"%d" % number, FILE, 0, 1, 1, 0, 0, 0, 0, 0, None)
        names.take(entry, each, manifest)
        manifest.add(b"/", entry)
    manifest.finish()
    return log.names


def test_the_same_names_share_a_segment() -> None:
    assert names_of(*[Owners({1: "one"}, {1: "many"})] * 3) == [({1: "one"}, {1: "many"})]


def test_a_number_that_got_another_name_or_lost_it_ends_the_segment() -> None:
    assert names_of(Owners({1: "one"}, {}), Owners({1: "uno"}, {}), Owners({}, {1: "many"}), Owners({}, {})) == [
        ({1: "one"}, {}),
        ({1: "uno"}, {}),
        ({}, {1: "many"}),
        ({}, {}),
    ]
