"""The order of listings: S3 sorts by whole keys, and some servers by one directory after the other.

Where names are sorted component by component (SeaweedFS does that), what is in `a/` comes before `a-b` and `a.b`, though
`/` is greater than `-` and `.`. What is in a directory therefore waits until a name comes that can not be followed by
one before it: in memory are the names of one directory of those that the prefix ends in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from chunkstore.errors import StorageUnreachable
from chunkstore.storage.protocol import ObjectInfo


def in_order(infos: Iterable[ObjectInfo], prefix: str, location: str) -> Iterator[ObjectInfo]:
    """The same objects sorted by name, each once; StorageUnreachable when the server keeps to neither order.

    `prefix` is what was listed: all names begin with it.
    """
    last = ""
    for group in _groups(infos, prefix):
        found = {info.name: info for info in group}
        for name in sorted(found):
            if name < last:
                raise StorageUnreachable(f"{location}: {name}: the server's listing is not in order")
            if name != last:
                yield found[name]
            last = name


def seconds(modified: datetime | None) -> float | None:
    """The time of an object as botocore gives it, in seconds since 1970."""
    return None if modified is None else modified.timestamp()


def _groups(infos: Iterable[ObjectInfo], prefix: str) -> Iterator[list[ObjectInfo]]:
    """Runs of objects between which there is no doubt about the order."""
    held: list[ObjectInfo] = []
    beside: tuple[str, ...] = ()
    for info in infos:
        if held and not (beside and info.name.startswith(beside)):
            yield held
            held = []
        if not held:
            directory = _directory(info.name, prefix)
            beside = (f"{directory}-", f"{directory}.", f"{directory}/") if directory else ()
        held.append(info)
    if held:
        yield held


def _directory(name: str, prefix: str) -> str:
    """The outermost directory that a name is in and that has siblings in the listing; empty when there is none."""
    end = name.find("/", len(prefix))
    return name[:end] if end >= 0 else ""
