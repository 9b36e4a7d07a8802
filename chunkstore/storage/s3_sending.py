"""The body of a PUT as botocore and urllib3 take it.

| given to botocore | what comes of it |
|---|---|
| `bytes` | a file, read in pieces of 16 KiB; the interpreter's lock is taken for each, a thousand times for a pack |
| `bytearray` | one call of `sendall`, for which the timeout of a socket counts as a whole: 10 s for a pack, on any line |
| `Upload` | pieces of 64 KiB, each with the whole timeout |

botocore asks for a `100 Continue` before it sends a file; without it each object takes a way there and back less. A server that
refuses reads the body all the same, or closes the connection, which is tried again.
"""

from __future__ import annotations

from typing import Any, Final

from chunkstore.storage.protocol import Buffer

PIECE: Final = 64 * 1024


class Upload:
    """A file that is in memory. `read` gives a piece, even where less was asked for: urllib3 sends what it gets."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data).cast("B")
        self._at = 0

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int = -1) -> memoryview:
        start = self._at
        self._at = len(self._data) if size < 0 else min(start + max(size, PIECE), len(self._data))
        return self._data[start : self._at]

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, whence: int = 0) -> int:
        """Back to the beginning, where a request is tried again."""
        self._at = position + (0, self._at, len(self._data))[whence]
        return self._at


def do_not_ask_before(request: Any, **_: object) -> None:
    """A handler of botocore's event `before-sign`: no `Expect: 100-continue`."""
    if "Expect" in request.headers:
        del request.headers["Expect"]
