"""Makes directory trees to measure with: the same bytes, names, modes and times from the same seed.

    python benchmarks/corpus.py tree DIR [--seed N] [--files N] [--bytes SIZE]
    python benchmarks/corpus.py big DIR [--seed N] [--bytes SIZE]
    python benchmarks/corpus.py mixed DIR [--seed N]
    python benchmarks/corpus.py image|database|mail|media DIR [--seed N] [--bytes SIZE]
    python benchmarks/corpus.py edit DIR [--seed N]

`tree`: many small files in projects of about 100 files; sizes are log-normal (median about 4 KB); half of the
bytes are source-like text, the rest binaries (some near-duplicates of another), a little does not
compress; one project in twelve is a copy of another, one file in fifty a copy of its neighbour.
`big`: a few large files: a compressible one, a random one, an image with holes of zeros, and the compressible
one again with edits. `mixed`: a small tree and a few middling files, for quick runs. The other kinds are told in
`corpus_kinds.py`.
`edit` changes 1 % of the files of any of them in place, adds a few and removes a few.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import corpus_kinds
from content import Vocabulary, variant

EPOCH_NS = 1_700_000_000 * 10**9
DAY_NS = 86_400 * 10**9
MIB = 1 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

KINDS = ("text", "binary", "variant", "noise", "copy", "empty")
SHARES = (0.72, 0.10, 0.04, 0.04, 0.02, 0.08)
SIZES = {"text": (4_200, 1.35), "binary": (12_000, 1.6), "noise": (8_000, 1.4)}  # median, sigma
ENDINGS = {"text": (".py", ".c", ".h", ".js", ".md"), "binary": (".so", ".o"), "noise": (".png", ".gz")}
LARGEST = 8 * MIB
OTHERS = {
    "image": (corpus_kinds.make_image, 400 * MIB),
    "database": (corpus_kinds.make_database, 300 * MIB),
    "mail": (corpus_kinds.make_mail, 200 * MIB),
    "media": (corpus_kinds.make_media, 300 * MIB),
}
KINDS_OF_CORPORA = ("tree", "big", "mixed", *OTHERS)


@dataclass(frozen=True, slots=True)
class Plan:
    """One file to be: `group` and `number` decide its bytes, the project it is placed in its name."""

    kind: str
    group: int
    number: int
    size: int
    path: str


def make_tree(root: Path, seed: int = 1, files: int = 110_000, size: int = 1200 * 10**6) -> None:
    """Fills `root` with `files` small files of about `size` bytes altogether."""
    vocabulary = Vocabulary(seed)
    rng = random.Random(f"tree {seed}")
    for directory, plans in _projects(rng, vocabulary.words, files, size):
        for plan in plans:
            (root / plan.path).parent.mkdir(parents=True, exist_ok=True)
            _write(root / plan.path, _content(vocabulary, plan), rng)
        link = root / directory / "current"
        link.symlink_to(Path(plans[0].path).relative_to(directory))
        _set_time(link, rng)
        if rng.random() < 0.1:
            (root / directory / "spool").mkdir()
    _settle_directories(root)


def make_big(root: Path, seed: int = 1, size: int = 2000 * 10**6) -> None:
    """Fills `root` with four large files of about `size` bytes altogether, a quarter of them incompressible."""
    root.mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary(seed)
    blocks = max(size // 4 // MIB, 1)
    rng = random.Random(f"big {seed}")
    for block in range(blocks):
        code = vocabulary.text(block // 8, block, MIB // 2) + vocabulary.binary(block // 8, block, MIB // 2)
        with (root / "archive.tar").open("ab") as archive, (root / "archive-next.tar").open("ab") as edited:
            archive.write(code)
            edited.write(variant(code, rng) if rng.random() < 0.1 else code)
        with (root / "random.bin").open("ab") as noise, (root / "disk.img").open("ab") as image:
            noise.write(vocabulary.noise(block, MIB))
            image.write(bytes(MIB) if rng.random() < 0.4 else vocabulary.binary(-block // 8, -block, MIB))
    for path in sorted(root.iterdir()):
        _set_time(path, rng)
    _settle_directories(root)


def make_mixed(root: Path, seed: int = 1) -> None:
    """A tree of 2,000 files and 25 MB, and four files of 10 MiB each."""
    make_tree(root / "tree", seed, files=2_000, size=25 * 10**6)
    make_big(root / "big", seed, size=40 * MIB)
    _settle_directories(root)


def edit(root: Path, seed: int = 1, share: float = 0.01) -> tuple[int, int, int]:
    """Changes `share` of the regular files under `root`; returns how many were edited, added, removed.

    Edited files get an insertion (large ones overwritten places and a longer end) and a later time; a
    twentieth as many are added, and as many removed.
    """
    rng = random.Random(f"edit {seed}")
    files = list(_regular_files(root))
    chosen = rng.sample(files, min(len(files), max(1, round(len(files) * share))))
    for path in chosen:
        _edit_file(path, rng)
    few = max(1, len(chosen) // 20)
    spare = sorted(set(files) - set(chosen))
    neighbours = rng.sample(files, min(few, len(files)))
    added = [path.with_name(f"added-{seed}-{number}.txt") for number, path in enumerate(neighbours)]
    for path in added:
        _write(path, rng.randbytes(500).hex().encode(), rng)
    removed = rng.sample(spare, few) if len(spare) > 20 * few else []
    for path in removed:
        path.unlink()
    for folder in {path.parent for path in (*added, *removed)}:
        os.utime(folder, ns=(EPOCH_NS, EPOCH_NS + seed * DAY_NS))
    return len(chosen), len(added), len(removed)


def _projects(rng: random.Random, words: list[str], files: int, size: int) -> Iterator[tuple[str, list[Plan]]]:
    """Directories and the files planned for them; the sizes scaled so that they add up to `size`."""
    groups: list[tuple[str, list[Plan]]] = []
    planned = 0
    while planned < files:
        name = f"{rng.choice(('app', 'lib', 'share', 'vendor'))}/{rng.choice(words)}-{len(groups)}"
        source = rng.choice(groups) if groups and rng.random() < 1 / 12 else None
        if source:
            plans = [_moved(plan, source[0], name) for plan in source[1]][: files - planned]
        else:
            count = min(files - planned, max(2, int(rng.lognormvariate(4.3, 0.8))))
            plans = _plans(rng, words, len(groups), name, range(planned, planned + count))
        groups.append((name, plans))
        planned += len(plans)
    scale = size / max(1, sum(plan.size for _, plans in groups for plan in plans))
    for name, plans in groups:
        yield name, [_scaled(plan, scale) for plan in plans]


def _plans(rng: random.Random, words: list[str], group: int, name: str, numbers: range) -> list[Plan]:
    folders = _folders(rng, words, max(1, len(numbers) // 12))
    bases: dict[str, Plan] = {}
    plans = []
    for number, kind in zip(numbers, rng.choices(KINDS, SHARES, k=len(numbers)), strict=True):
        if kind in ("variant", "copy"):
            base = bases.get("binary" if kind == "variant" else "any")
            kind = kind if base else "text"
        if kind in ("variant", "copy") and base:
            content, size, ending = base.number, base.size, Path(base.path).suffix
            kind = kind if kind == "variant" else base.kind
        else:
            content, size = number, _size(rng, kind)
            ending = rng.choice(ENDINGS.get(kind, (".txt",)))
        path = f"{name}/{rng.choice(folders)}{rng.choice(words)}_{number}{ending}"
        plans.append(Plan(kind, group, content, size, path))
        if kind != "variant":
            bases[kind] = bases["any"] = plans[-1]
    return plans


def _folders(rng: random.Random, words: list[str], count: int) -> list[str]:
    """Relative directories ending in a slash, nested up to five deep."""
    folders = [""]
    for _ in range(count):
        parent = rng.choice([folder for folder in folders if folder.count("/") < 5])
        folders.append(f"{parent}{rng.choice(words)}{rng.choice(('', '', '', ' notes', '-ü'))}/")
    return folders


def _size(rng: random.Random, kind: str) -> int:
    if kind not in SIZES:
        return 0
    median, sigma = SIZES[kind]
    return min(int(median * rng.lognormvariate(0, sigma)), LARGEST)


def _scaled(plan: Plan, scale: float) -> Plan:
    return Plan(plan.kind, plan.group, plan.number, int(plan.size * scale), plan.path)


def _moved(plan: Plan, source: str, target: str) -> Plan:
    return Plan(plan.kind, plan.group, plan.number, plan.size, target + plan.path[len(source) :])


def _content(vocabulary: Vocabulary, plan: Plan) -> bytes:
    if plan.kind == "text":
        return vocabulary.text(plan.group, plan.number, plan.size)
    if plan.kind == "binary":
        return vocabulary.binary(plan.group, plan.number, plan.size)
    if plan.kind == "variant":
        base = vocabulary.binary(plan.group, plan.number, plan.size)
        return variant(base, random.Random(f"{vocabulary.seed} {plan.path}"))
    return vocabulary.noise(plan.number, plan.size)


def _write(path: Path, data: bytes, rng: random.Random) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, data)
        os.fchmod(descriptor, 0o755 if path.suffix == ".so" else 0o644)
    finally:
        os.close(descriptor)
    _set_time(path, rng)


def _set_time(path: Path, rng: random.Random) -> None:
    when = EPOCH_NS + rng.randrange(300 * DAY_NS)
    os.utime(path, ns=(when, when), follow_symlinks=False)


def _settle_directories(root: Path) -> None:
    """Gives every directory a fixed time, once nothing is added any more."""
    for directory, _, _ in os.walk(root, topdown=False):
        os.utime(directory, ns=(EPOCH_NS, EPOCH_NS + len(directory) - len(str(root))))


def _regular_files(root: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(directory, name)
            if not path.is_symlink():
                yield path


def _edit_file(path: Path, rng: random.Random) -> None:
    before = path.stat()
    if before.st_size < MIB:
        data = path.read_bytes()
        at = rng.randrange(len(data) + 1)
        path.write_bytes(data[:at] + rng.randbytes(20).hex().encode() + data[at:])
    else:
        with path.open("r+b") as file:
            for _ in range(8):
                file.seek(rng.randrange(before.st_size))
                file.write(rng.randbytes(200))
            file.seek(0, os.SEEK_END)
            file.write(rng.randbytes(65_536))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + DAY_NS))


def parse_size(text: str) -> int:
    """Bytes from `1.2G`, `300M`, `4096`; the units are powers of 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:iB|B)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"not a size: {text}")
    return int(float(match[1]) * UNITS[match[2]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=(*KINDS_OF_CORPORA, "edit"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=110_000)
    parser.add_argument("--bytes", type=parse_size, help="total, for instance 1.2G")
    arguments = parser.parse_args()
    started = time.perf_counter()
    make(arguments.kind, arguments.directory, arguments.seed, arguments.files, arguments.bytes)
    print(f"{arguments.kind} in {arguments.directory}: {time.perf_counter() - started:.1f} s")


def make(kind: str, root: Path, seed: int = 1, files: int = 110_000, size: int | None = None) -> None:
    """Makes the corpus named `kind`, or edits the one that is there."""
    if kind == "tree":
        make_tree(root, seed, files, size or 1200 * 10**6)
    elif kind == "big":
        make_big(root, seed, size or 2000 * 10**6)
    elif kind == "mixed":
        make_mixed(root, seed)
    elif kind in OTHERS:
        function, usual = OTHERS[kind]
        function(root, seed, size or usual)
    else:
        print("edited, added, removed:", *edit(root, seed))


if __name__ == "__main__":
    main()
