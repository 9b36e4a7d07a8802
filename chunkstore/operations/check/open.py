"""The keys for a check that opens every chunk: the one part of a check that needs the GPG private key."""

from __future__ import annotations

from chunkstore.operations.opening import Unseal, open_content
from chunkstore.repository.chunk_reader import AllKeys, FrameKeys
from chunkstore.repository.repository import Repository


def content_keys(repository: Repository, unseal: Unseal) -> FrameKeys:
    """What `check` takes as `keys`; `unseal` is asked once for each reading key. `NoUsableKey`."""
    return AllKeys(repository.key, open_content(repository, unseal))
