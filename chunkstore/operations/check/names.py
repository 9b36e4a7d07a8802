"""Which names objects of a repository have."""

from __future__ import annotations

import re
from typing import Final

from chunkstore.format import names
from chunkstore.operations.check.findings import Kind

_NUMBER: Final = "[0-9]{16}"
_ID: Final = "[0-9a-f]{32}"
_DIGEST: Final = "[0-9a-f]{64}"
_NAMES: Final = {
    Kind.CONFIG: f"{names.CONFIG}{_NUMBER}",
    Kind.RECIPIENTS: f"{names.RECIPIENTS}{_NUMBER}",
    Kind.KEY: f"{names.KEYS}{_ID}\\.[0-9]{{4}}",
    Kind.RUN: f"{names.RUNS}{_ID}-[0-9]{{6}}",
    Kind.SEGMENT: f"{names.SEGMENTS}{_DIGEST}",
    Kind.GENERATION: f"{names.GENERATIONS}{_NUMBER}",
    Kind.SNAPSHOT: f"{names.SNAPSHOTS}{_ID}",
    Kind.AMENDMENT: f"{names.AMENDMENTS}{_ID}",
    Kind.SESSION: f"{names.SESSIONS}{_ID}",
    Kind.PLAN: f"{names.PLANS}{_NUMBER}",
    Kind.PLAN_DONE: f"{names.PLANS}{_NUMBER}{re.escape(names.DONE)}",
}
_PATTERNS: Final = [(kind, re.compile(pattern)) for kind, pattern in _NAMES.items()]
_PROBE: Final = re.compile("(?:[a-z]+/)?probe-[0-9a-f]+")


def kind_of(name: str) -> Kind | None:
    """The kind of the object that has this name; None when no object is named so."""
    if name.startswith(names.PACKS):
        return Kind.PACK if names.pack_id(name) else None
    return next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(name)), None)


def is_probe(name: str) -> bool:
    """Whether it is one of the objects that `init` and `prune` put and delete, to learn something about the storage."""
    return _PROBE.fullmatch(name) is not None
