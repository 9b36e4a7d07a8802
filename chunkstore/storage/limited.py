"""A wrapper that keeps to a number of bytes a second, with all threads together.

By any moment no more has been moved than the rate allows up to one second later. A put can not be cut: it waits until it
is paid for, then goes out in one piece. Large gets are cut into ranges of about a second each. A get of unknown length
begins with a small range that is paid for afterwards, so that small objects do not wait for what they might have been.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from chunkstore.errors import Interrupted
from chunkstore.storage.options import Waiting
from chunkstore.storage.protocol import (
    Buffer,
    ObjectInfo,
    Storage,
    check_name,
    check_range,
    connections,
    delete_many,
    entries,
    extend_retention,
    locked_until,
    may_lock,
)

_BURST_SECONDS: Final = 1.0

# Ranges are not cut smaller than this, whatever the rate: each is a request. Ledger objects are mostly smaller.
_SMALLEST_PIECE: Final = 256 * 1024


class Pace:
    """A token bucket of `rate` bytes a second, which holds a second's worth: `pay` before moving bytes."""

    def __init__(self, rate: int, waiting: Waiting) -> None:
        self._rate = rate
        self._waiting = waiting
        self._lock = threading.Lock()
        # All that was ever asked for would have been moved by this moment at exactly the rate.
        self._moved_until = waiting.clock()

    @property
    def piece(self) -> int:
        """How many bytes are worth a request of their own."""
        return max(int(self._rate * _BURST_SECONDS), _SMALLEST_PIECE)

    def pay(self, size: int) -> None:
        """Wait until so many more bytes may be moved. Interrupted if the run was asked to end and that would last."""
        moment = self.charge(size) - _BURST_SECONDS
        try:
            self._wait_for(moment)
        except BaseException:
            self.give_back(size)
            raise

    def settle(self) -> None:
        """Wait until all that was charged for is paid. Interrupted as in `pay`."""
        with self._lock:
            moment = self._moved_until
        self._wait_for(moment)

    def charge(self, size: int) -> float:
        """So many bytes were moved, or will be; returns the moment from which on they are paid."""
        with self._lock:
            begin = max(self._moved_until, self._waiting.clock())
            self._moved_until = begin + size / self._rate
            return self._moved_until

    def give_back(self, size: int) -> None:
        """So many bytes were paid for and not moved."""
        with self._lock:
            self._moved_until -= size / self._rate

    def _wait_for(self, moment: float) -> None:
        waiting = self._waiting
        while (left := moment - waiting.clock()) > 0:
            # Who was asked to end still writes down what is done: short waits go on.
            if left > waiting.slice_seconds and waiting.stop():
                raise Interrupted("interrupted while waiting because of a bandwidth limit")
            waiting.sleep(min(left, waiting.slice_seconds))


class LimitedStorage:
    """Passes calls on to another storage, no faster than `upload` and `download` bytes a second. See `Storage`.

    None: no limit. Only the bytes of objects count, not those of requests and listings, nor what is sent again.
    """

    def __init__(self, inner: Storage, upload: int | None, download: int | None, waiting: Waiting) -> None:
        self._inner = inner
        self._upload = None if upload is None else Pace(upload, waiting)
        self._download = None if download is None else Pace(download, waiting)

    @property
    def location(self) -> str:
        return self._inner.location

    @property
    def connections(self) -> int:
        """See `TakesManyRequests`."""
        return connections(self._inner)

    def put(self, name: str, data: Buffer) -> None:
        self._pay_for_upload(name, data)
        self._inner.put(name, data)

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        self._pay_for_upload(name, data)
        return self._inner.put_if_absent(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if self._download is None:
            return self._inner.get(name, offset, length)
        check_name(name)
        check_range(offset, length)
        if length is not None:
            return self._ranges(self._download, name, offset, length)
        self._download.settle()
        first = self._inner.get(name, offset, _SMALLEST_PIECE)
        self._download.charge(len(first))
        if len(first) < _SMALLEST_PIECE:
            return first
        return first + self._ranges(self._download, name, offset + len(first), None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def stat(self, name: str) -> ObjectInfo:
        return self._inner.stat(name)

    def delete(self, name: str) -> None:
        self._inner.delete(name)

    def delete_many(self, names: Iterable[str]) -> None:
        """See `DeletesMany`."""
        delete_many(self._inner, names)

    def entries(self) -> Sequence[str]:
        """See `ShowsEntries`."""
        return entries(self._inner)

    def extend_retention(self, name: str, until: float) -> bool:
        """See `LocksObjects`."""
        return extend_retention(self._inner, name, until)

    def locked_until(self, name: str) -> float | None:
        """See `LocksObjects`."""
        return locked_until(self._inner, name)

    def may_lock(self) -> bool:
        """See `LocksObjects`."""
        return may_lock(self._inner)

    def _pay_for_upload(self, name: str, data: Buffer) -> None:
        check_name(name)
        if self._upload is not None:
            self._upload.pay(memoryview(data).nbytes)

    def _ranges(self, pace: Pace, name: str, offset: int, length: int | None) -> bytes:
        """What there is from `offset` on, at most `length`, one paid range after the other."""
        pieces: list[bytes] = []
        while not pieces or length != 0:
            wanted = pace.piece if length is None else min(length, pace.piece)
            pieces.append(self._range(pace, name, offset, wanted))
            if len(pieces[-1]) < wanted:
                break
            offset += wanted
            length = None if length is None else length - wanted
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _range(self, pace: Pace, name: str, offset: int, wanted: int) -> bytes:
        """One range, paid for before it is got; what there is not is paid back."""
        pace.pay(wanted)
        moved = 0
        try:
            content = self._inner.get(name, offset, wanted)
            moved = len(content)
        finally:
            pace.give_back(wanted - moved)
        return content
