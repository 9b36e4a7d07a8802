"""Copying frames, as they are stored, from packs into new packs: nothing is opened, so no private key is needed."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

from chunkstore.format import names
from chunkstore.format import pack as packs
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import Frame, PackInfo, Slot
from chunkstore.format.wire import Buffer
from chunkstore.ids import RandomBytes
from chunkstore.repository.repository import Repository

_MAX_SLOTS = 256
"""Key slots in one new pack: 28 KiB. Each run that frames come from has its own."""


class _Filling:
    """A new pack that is being filled."""

    def __init__(self, header_size: int) -> None:
        self.slots: dict[Slot, int] = {}
        self.frames: list[Frame] = []
        self.parts: list[Buffer] = []
        self.size = header_size

    def append(self, frame: Frame, slot: Slot, stored: bytes) -> None:
        number = self.slots.setdefault(slot, len(self.slots))
        self.frames.append(replace(frame, slot=number))
        self.parts.append(stored)
        self.size += len(stored)


class Repacker:
    """Takes the frames that stay from packs that go; hands over each new pack once it is stored."""

    def __init__(self, repository: Repository, random_bytes: RandomBytes, stored: Callable[[PackInfo], None]) -> None:
        self._repository = repository
        self._random_bytes = random_bytes
        self._stored = stored
        self._filling: dict[ObjectKind, _Filling] = {}

    def take(self, info: PackInfo, data: bytes, offsets: Container[int]) -> None:
        """Copy the frames that begin at these offsets. `data` is the whole pack, which was compared with its name."""
        for frame in info.frames:
            if frame.offset not in offsets:
                continue
            filling = self._filling.get(info.plane)
            if filling is None:
                filling = self._filling[info.plane] = _Filling(0)
            filling.append(frame, info.slots[frame.slot], data[frame.offset : frame.offset + frame.stored])
            if filling.size >= self._repository.config.pack_size or len(filling.slots) == _MAX_SLOTS:
                self._finish(info.plane)

    def flush(self) -> None:
        """Store what is left."""
        for plane in list(self._filling):
            self._finish(plane)

    def _finish(self, plane: ObjectKind) -> None:
        filling, repository = self._filling.pop(plane), self._repository
        slots = tuple(filling.slots)
        header = packs.header(plane, slots, repository.state.messages, repository.key)
        frames, at = [], len(header)
        for frame in filling.frames:
            frames.append(replace(frame, offset=at))
            at += frame.stored
        info, data = packs.finish(plane, slots, frames, [header, *filling.parts], repository.key, self._random_bytes)
        repository.storage.put(names.pack(info.pack_id), data)
        self._stored(info)
