"""What all names of one file have in common."""

from __future__ import annotations

import hashlib

from chunkstore.errors import Damaged
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader


def link_fingerprint(manifest: ManifestReader, found: ManifestEntry) -> bytes:
    """The same (32 bytes) for all names of a file, unless it changed between them while the snapshot was made.

    Device and inode alone are no proof: who forges a manifest may say the same ones of different files.
    """
    entry = found.entry
    extra = {key: value for key, value in (entry.extra or {}).items() if key != "atime"}
    same = (entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.size, entry.chunks, extra)
    digest = hashlib.sha256(repr(same).encode())
    try:
        for ids in manifest.ids(found):
            digest.update(ids)
    except Damaged as e:  # its content will tell
        digest.update(str(e).encode())
    return digest.digest()
