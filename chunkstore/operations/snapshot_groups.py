"""Snapshots that belong together: of one host, of the same roots, with the same tags."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from chunkstore.operations.catalog import Snapshot

GROUP_KEYS = ("host", "paths", "tags")


@dataclass(frozen=True, slots=True)
class Group:
    """Snapshots, oldest first, and what they have in common; None for what was not asked about."""

    host: str | None
    paths: tuple[bytes, ...] | None
    tags: tuple[str, ...] | None
    snapshots: tuple[Snapshot, ...]


def grouped(found: Iterable[Snapshot], keys: Collection[str], newest: int | None = None) -> list[Group]:
    """The snapshots by some of `GROUP_KEYS`, in the order of what they have in common; of each group the `newest` ones.

    Without keys there is one group, if there is anything.
    """
    groups: dict[tuple[str, tuple[bytes, ...], tuple[str, ...]], list[Snapshot]] = {}
    for each in found:
        host = each.record.host if "host" in keys else ""
        roots = tuple(sorted(each.record.roots)) if "paths" in keys else ()
        tags = tuple(sorted(each.tags)) if "tags" in keys else ()
        groups.setdefault((host, roots, tags), []).append(each)
    return [
        Group(
            host if "host" in keys else None,
            roots if "paths" in keys else None,
            tags if "tags" in keys else None,
            tuple(sorted(groups[host, roots, tags], key=lambda each: each.age_order)[-(newest or 0) :]),
        )
        for host, roots, tags in sorted(groups)
    ]
