"""What changed, for people and machines."""

from __future__ import annotations

from chunkstore.format.entries import DIRECTORY
from chunkstore.operations.comparing import Change, Difference, State
from chunkstore.operations.difference import size_of
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_size

from .entries import KINDS
from .output import json_path

CHANGES = {
    Change.ADDED: "added",
    Change.REMOVED: "removed",
    Change.KIND: "kind",
    Change.CONTENT: "content",
    Change.METADATA: "metadata",
}
"""Their names in JSON and tables."""


def change_line(found: Difference, *, verbose: bool = False) -> str:
    """The letter and the path, of a directory with a slash at its end; `verbose`: and what about it changed."""
    state = found.after or found.before
    slash = "/" * (state is not None and state.entry.kind == DIRECTORY and not found.path.endswith(b"/"))
    line = f"{found.change.value} {display_path(found.path)}{slash}"
    what = shown_fields(found) if verbose else ""
    return f"{line}  ({what})" if what else line


def shown_fields(found: Difference) -> str:
    """`file -> link`, `12 B -> 15 B, mtime`: what an entry was and is, as far as it changed."""
    parts = list(found.fields)
    before, after = found.before, found.after
    if before is None or after is None:
        return ""
    if found.change is Change.KIND:
        parts.insert(0, f"{_kind(before)} -> {_kind(after)}")
    elif size_of(before) != size_of(after):
        parts.insert(0, sizes(size_of(before), size_of(after)))
    return ", ".join(parts)


def sizes(before: int, after: int) -> str:
    """Two sizes, to the byte where they would look the same."""
    one, other = format_size(before), format_size(after)
    if one == other and before != after:
        one, other = f"{format_count(before)} B", f"{format_count(after)} B"
    return f"{one} -> {other}"


def change_as_json(found: Difference) -> dict[str, object]:
    before, after = found.before, found.after
    return {
        "path": json_path(found.path),
        "change": CHANGES[found.change],
        "fields": list(found.fields),
        "type_before": _kind(before) if before else None,
        "type_after": _kind(after) if after else None,
        "size_before": before.entry.size if before else None,
        "size_after": after.entry.size if after else None,
    }


def _kind(state: State) -> str:
    return KINDS[state.entry.kind][0]
