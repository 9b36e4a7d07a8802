"""Frames that hold little that is in use. They can not be split without the private key; but when writers store what they meet of
it again, such a frame is in use no more one day, and goes."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import groupby, islice

from chunkstore.ids import PackId
from chunkstore.operations.usage import Usage

_LITTLE = 0.2
"""A frame is sparse when less of its raw bytes than this share is in use."""
_SMALL = 64 << 10
"""Raw bytes: smaller frames are not worth it."""
_AT_MOST = 20_000
"""Frames in one generation: 20 GB of mostly unused frames, named in less than 1 MB."""


def sparse_frames(usage: Usage, gone: Container[PackId]) -> Iterator[tuple[PackId, tuple[int, ...]]]:
    """(pack, offsets of its sparse frames), for packs that stay."""
    ids = {pack.no: pack.pack_id for pack in usage.packs() if pack.pack_id not in gone}
    sparse = (
        (frame.pack, frame.offset)
        for frame in usage.frames()
        if frame.pack in ids and frame.raw >= _SMALL and 0 < usage.frame_live[frame.no] < _LITTLE * frame.raw
    )
    for pack, frames in groupby(islice(sparse, _AT_MOST), key=lambda each: each[0]):
        yield ids[pack], tuple(sorted(offset for _, offset in frames))
