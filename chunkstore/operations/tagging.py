"""Saying something about a snapshot later: tags, a description, a pin. An amendment is added; the record stays as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chunkstore.errors import InvalidArgument, StorageError
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import Amendment, decode_amendment, encode_amendment, stored_time
from chunkstore.operations.catalog import Snapshot, amended
from chunkstore.repository.repository import Repository, Surroundings

MAX_TAG_SIZE = 200
"""Bytes of a tag in UTF-8."""


def check_tag(tag: str) -> str:
    """The tag, if it can be one: not empty, at most 200 bytes, no comma (it separates tags), nothing unprintable, no space
    at its ends. Else `InvalidArgument`.
    """
    check_text(tag)
    if not tag or tag != tag.strip():
        raise InvalidArgument(f"not a tag: {tag[:40]!r} is empty, or has a space at an end")
    if "," in tag or not tag.isprintable():
        raise InvalidArgument(f"not a tag: {tag[:40]!a} has a comma or a control character")
    if len(tag.encode()) > MAX_TAG_SIZE:
        raise InvalidArgument(f"not a tag: {tag[:40]!r}... has more than {MAX_TAG_SIZE} bytes")
    return tag


def check_text(text: str) -> str:
    """The text, if it can be stored: without surrogates, which stand in arguments for what is no UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidArgument(f"not a text in UTF-8: {text[:40]!a}")
    return text


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be so from now on; None leaves a thing as it is. `exactly` stands for all tags, instead of the two others.

    `InvalidArgument` for what can not be a tag, or contradicts itself.
    """

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    exactly: tuple[str, ...] | None = None
    description: str | None = None
    pinned: bool | None = None

    def __post_init__(self) -> None:
        for tag in (*self.add, *(self.exactly or ())):
            check_tag(tag)
        check_text(self.description or "")
        if self.exactly is not None and (self.add or self.remove):
            raise InvalidArgument("tags are either set, or added and removed")
        if both := set(self.add) & set(self.remove):
            raise InvalidArgument(f"a tag to be both added and removed: {min(both)!r}")

    def __bool__(self) -> bool:
        return self != Change()


def amend(repository: Repository, snapshot: Snapshot, change: Change, around: Surroundings) -> Snapshot | None:
    """Store what the change makes different; the snapshot as it counts then, or None where it was so already."""
    amendment = _difference(snapshot, change, around)
    if amendment is None:
        return None
    body = encode_amendment(amendment)
    decode_amendment(body)  # one that nobody could read must not be put
    name = names.amendment(around.random_bytes(16).hex())
    if not repository.create(ObjectKind.AMENDMENT, name, body, around.random_bytes):
        raise StorageError(f"{name}: another object has this name already")
    return amended(snapshot, amendment)


def _difference(snapshot: Snapshot, change: Change, around: Surroundings) -> Amendment | None:
    wanted = _wanted_tags(snapshot.tags, change)
    add = tuple(tag for tag in wanted if tag not in snapshot.tags)
    remove = tuple(tag for tag in snapshot.tags if tag not in wanted)
    description = change.description if change.description != snapshot.description else None
    pinned = change.pinned if change.pinned != snapshot.pinned else None
    if not add and not remove and description is None and pinned is None:
        return None
    # Clocks of clients differ: what is said after something was seen must count after it.
    now = max(around.clock(), -1 if snapshot.amended_at is None else snapshot.amended_at + 1)
    return Amendment(snapshot.record.id, stored_time(now), add, remove, pinned, description)


def _wanted_tags(tags: Iterable[str], change: Change) -> list[str]:
    if change.exactly is not None:
        return list(dict.fromkeys(change.exactly))
    return list(dict.fromkeys([*(tag for tag in tags if tag not in change.remove), *change.add]))
