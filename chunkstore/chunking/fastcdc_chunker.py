"""FastCDC in the form of ronomon/deduplication by fastcdc 1.7.0 (PyPI): an optional extra, and not seeded.

Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication",
USENIX ATC 2016. The gear table is compiled in and no parameter changes it: whoever sees chunk lengths can tell
which publicly known file they belong to. It also holds the GIL while it cuts. There is no wheel for Linux;
where no compiler was at hand it installs as pure Python, some hundred times slower, which is refused here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader, PathFinder
from typing import Protocol

from chunkstore.chunking.parameters import ChunkerParameters
from chunkstore.errors import InvalidArgument


class _Piece(Protocol):
    @property
    def length(self) -> int: ...


_Cutter = Callable[[memoryview, int, int, int], Iterator[_Piece]]


class FastCDCChunker:
    """Cuts with fastcdc's compiled module; InvalidArgument when it is missing. It can not be seeded."""

    __slots__ = ("_avg_size", "_cutter", "_max_size", "_min_size")

    def __init__(self, parameters: ChunkerParameters) -> None:
        self._min_size = parameters.min_size
        self._avg_size = parameters.avg_size
        self._max_size = parameters.max_size
        self._cutter = _compiled_cutter()

    @property
    def min_size(self) -> int:
        return self._min_size

    @property
    def max_size(self) -> int:
        return self._max_size

    @property
    def seeded(self) -> bool:
        return False

    def cut(self, data: memoryview, final: bool) -> list[int]:
        """See `Chunker.cut`."""
        length = len(data)
        if final and length <= self._min_size:
            return [length] if length else []
        last_start = length - (1 if final else self._max_size)
        ends: list[int] = []
        end = 0
        chunks = self._cutter(data, self._min_size, self._avg_size, self._max_size)
        while end <= last_start:
            end += next(chunks).length
            ends.append(end)
        return ends


def _compiled_cutter() -> _Cutter:
    """The compiled `fastcdc_cy(data, min, avg, max)`, or InvalidArgument.

    Looked for before it is imported: the package prints to stdout when it falls back to pure Python.
    """
    package = importlib.util.find_spec("fastcdc")
    if package is None:
        raise InvalidArgument(
            "the chunker fastcdc is not installed: pip install 'chunkstore[fastcdc]', or use pyfastcdc"
        )
    compiled = PathFinder.find_spec("fastcdc_cy", package.submodule_search_locations)
    if compiled is not None and isinstance(compiled.loader, ExtensionFileLoader):
        try:
            cutter: _Cutter = importlib.import_module("fastcdc.fastcdc_cy").fastcdc_cy
        except ImportError as error:
            raise InvalidArgument(f"the chunker fastcdc does not load: {error}; use pyfastcdc") from error
        return cutter
    raise InvalidArgument(
        "the chunker fastcdc is installed without its compiled module and would be hundreds of times slower: "
        "install a C compiler and then fastcdc again (pip install --force-reinstall fastcdc), or use pyfastcdc"
    )
