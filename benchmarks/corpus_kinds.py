"""More corpora: what is not a tree of source files. Each is the same bytes, names and times from the same seed.

`image`: a disk image of 4 KiB blocks, and a later version of it: some files of it rewritten, some moved, some new.
`database`: a file of 8 KiB pages, and a later version: pages changed here and there, a few at its end.
`mail`: a maildir and an mbox whose messages carry the same attachments again and again, and the mbox a month later.
`media`: pictures and films, which do not compress: some twice, some again with another header.
"""

from __future__ import annotations

import base64
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

from content import Vocabulary

EPOCH_NS = 1_700_000_000 * 10**9
DAY_NS = 86_400 * 10**9
KIB, MIB = 1 << 10, 1 << 20
BLOCK, PAGE = 4 * KIB, 8 * KIB
STRETCH = 8 * MIB
"""An image and a database are made in stretches of this size: nothing is held whole."""


def make_image(root: Path, seed: int = 1, size: int = 400 * MIB, changed: float = 0.03) -> None:
    """`disk-1.img` and `disk-2.img`, together `size` bytes; of the second about `changed` differs."""
    vocabulary, rng = Vocabulary(seed), random.Random(f"image {seed}")
    root.mkdir(parents=True, exist_ok=True)
    stretches = max(size // 2 // STRETCH, 1)
    with (root / "disk-1.img").open("wb") as first, (root / "disk-2.img").open("wb") as second:
        for number in range(stretches):
            before = _stretch(vocabulary, rng, number)
            first.write(before)
            second.write(_later_image(vocabulary, rng, before, changed))
    _settle(root)


def make_database(root: Path, seed: int = 1, size: int = 300 * MIB, changed: float = 0.05) -> None:
    """`database-1` and `database-2`, together about `size` bytes; in the second `changed` of the pages are other ones."""
    vocabulary, rng = Vocabulary(seed), random.Random(f"database {seed}")
    root.mkdir(parents=True, exist_ok=True)
    pages = max(size // 2 // PAGE, 2)
    with (root / "database-1").open("wb") as first, (root / "database-2").open("wb") as second:
        for number in range(pages + pages // 50):
            page = _page(vocabulary, number, 0, rng)
            if number < pages:
                first.write(page)
                page = _changed_page(page, number, rng) if rng.random() < changed else page
            second.write(page)
    _settle(root)


def make_mail(root: Path, seed: int = 1, size: int = 200 * MIB) -> None:
    """`maildir/cur/*`, `archive.mbox`, and `archive-next.mbox`, which has a tenth more; about `size` bytes in all."""
    vocabulary, rng = Vocabulary(seed), random.Random(f"mail {seed}")
    current = root / "maildir" / "cur"
    current.mkdir(parents=True, exist_ok=True)
    attachments = _Attachments(vocabulary, rng, max(size // (4 * MIB), 8))
    written = number = 0
    while written < size // 3:
        message = _message(vocabulary, rng, attachments, number)
        (current / f"{1_700_000_000 + number * 977}.M{number}P{number % 7}.host,S={len(message)}").write_bytes(message)
        written, number = written + len(message), number + 1
    written = 0
    with (root / "archive.mbox").open("wb") as first, (root / "archive-next.mbox").open("wb") as second:
        while written < size * 11 // 30:
            message = b"From somebody@example.org\n" + _message(vocabulary, rng, attachments, number) + b"\n"
            second.write(message)
            if written < size // 3:
                first.write(message)
            written, number = written + len(message), number + 1
    _settle(root)


def make_media(root: Path, seed: int = 1, size: int = 300 * MIB) -> None:
    """Pictures of 1 to 8 MiB and films of 20 to 60: one in six is there twice, one in six again with another header."""
    vocabulary, rng = Vocabulary(seed), random.Random(f"media {seed}")
    written = number = 0
    while written < size:
        film = rng.random() < 0.03
        length = min(int(rng.uniform(20, 60) * MIB if film else rng.uniform(1, 8) * MIB), max(size - written, MIB))
        data = _header(rng) + vocabulary.noise(number, length)
        folder = root / f"{2015 + number % 9}"
        (folder / "copies").mkdir(parents=True, exist_ok=True)
        name = f"{'film' if film else 'picture'}-{number:05}.{'mp4' if film else 'jpg'}"
        (folder / name).write_bytes(data)
        if number % 6 in (1, 3):
            again = data if number % 6 == 1 else _header(rng) + data[data.index(b"\xff\xda") :]
            (folder / "copies" / name).write_bytes(again)
            written += len(again)
        written, number = written + len(data), number + 1
    _settle(root)


# -- images


def _stretch(vocabulary: Vocabulary, rng: random.Random, number: int) -> bytes:
    """Files of many sizes, each from a block on, and free space that reads as zeros."""
    parts: list[bytes] = []
    length = place = 0
    while length < STRETCH:
        place += 1
        size = min(int(24 * KIB * rng.lognormvariate(0, 1.6)) + 1, STRETCH - length)
        kind = rng.choices(("text", "binary", "noise", "free"), (3, 4, 3, 3))[0]
        parts.append(_blocks(_file(vocabulary, kind, number, number * 4096 + place, size)))
        length += len(parts[-1])
    return b"".join(parts)[:STRETCH]


def _file(vocabulary: Vocabulary, kind: str, group: int, number: int, size: int) -> bytes:
    if kind == "text":
        return vocabulary.text(group, number, size)
    if kind == "binary":
        return vocabulary.binary(group, number, size)
    return vocabulary.noise(number, size) if kind == "noise" else bytes(size)


def _blocks(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _later_image(vocabulary: Vocabulary, rng: random.Random, before: bytes, changed: float) -> bytes:
    """Half of what changes is new content, the other half content from elsewhere in the image: files that were moved."""
    after = bytearray(before)
    left = int(len(before) * changed)
    while left > 0:
        size = min(BLOCK * max(1, int(rng.lognormvariate(1, 1.3))), STRETCH // 4)
        at = rng.randrange(len(after) // BLOCK - size // BLOCK) * BLOCK
        source = rng.randrange(len(before) // BLOCK - size // BLOCK) * BLOCK
        new = rng.random() < 0.5
        after[at : at + size] = vocabulary.noise(rng.getrandbits(40), size) if new else before[source : source + size]
        left -= size
    return bytes(after)


# -- databases


def _page(vocabulary: Vocabulary, number: int, change: int, rng: random.Random) -> bytes:
    """A header with the number of the page and of its last change, rows of text and keys, and some free space."""
    body = bytearray(struct.pack(">QQ", number, change) + rng.randbytes(8))
    full = PAGE * rng.uniform(0.7, 0.98)
    row = 0
    while len(body) < full:
        row += 1
        fields = struct.pack(">QI", number * 97 + row, rng.getrandbits(20)) + rng.randbytes(12)
        body += fields + vocabulary.text(number // 4096, number * 128 + row, rng.randrange(40, 200))
    return bytes(body[:PAGE]) + bytes(max(PAGE - len(body), 0))


def _changed_page(page: bytes, number: int, rng: random.Random) -> bytes:
    changed = bytearray(page)
    changed[:24] = struct.pack(">QQ", number, rng.getrandbits(40)) + rng.randbytes(8)
    at = rng.randrange(24, PAGE - 100)
    changed[at : at + 60] = rng.randbytes(60)
    return bytes(changed)


# -- mail


class _Attachments:
    """A pool of attachments as they stand in mails. The first ones are sent most often."""

    def __init__(self, vocabulary: Vocabulary, rng: random.Random, count: int) -> None:
        self._encoded: list[bytes] = []
        for number in range(count):
            size = min(int(120 * KIB * rng.lognormvariate(0, 1.2)) + 200, 6 * MIB)
            text = rng.random() < 0.2
            data = vocabulary.text(number, -number, size) if text else vocabulary.noise(-1 - number, size)
            self._encoded.append(base64.encodebytes(data))
        self._weights = [1 / (number + 1) ** 0.8 for number in range(count)]

    def draw(self, rng: random.Random) -> bytes:
        return rng.choices(self._encoded, self._weights)[0]


def _message(vocabulary: Vocabulary, rng: random.Random, attachments: _Attachments, number: int) -> bytes:
    sender, receiver = rng.choice(vocabulary.words), rng.choice(vocabulary.words)
    head = (
        f"Received: from {sender}.example.org by mx.example.net; {number}\nMessage-ID: <{rng.getrandbits(96):x}@{sender}>\n"
        f"From: {sender}@example.org\nTo: {receiver}@example.net\nSubject: {' '.join(rng.choices(vocabulary.words, k=4))}\n\n"
    ).encode()
    parts = [head, vocabulary.text(number % 40, number, rng.randrange(300, 6_000))]
    for _ in range(rng.choices((0, 1, 2), (60, 32, 8))[0]):
        boundary = f"\n--{rng.getrandbits(64):x}\nContent-Transfer-Encoding: base64\n\n".encode()
        parts += [boundary, attachments.draw(rng)]
    return b"".join(parts)


# -- media


def _header(rng: random.Random) -> bytes:
    """As cameras write it, and as programs change it when somebody adds a tag: of another length each time."""
    return b"\xff\xd8Exif" + rng.randbytes(rng.randrange(200, 3_000)).replace(b"\xff\xda", b"..") + b"\xff\xda"


def _settle(root: Path) -> None:
    """Gives everything a fixed time."""
    for number, path in enumerate(_below(root)):
        os.utime(path, ns=(EPOCH_NS, EPOCH_NS + number % 300 * DAY_NS))


def _below(root: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(root, topdown=False):
        folders.sort()
        yield from (Path(directory, name) for name in sorted(names))
        yield Path(directory)
