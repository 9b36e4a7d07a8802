"""The body of an answer to GET: no byte more or less than was asked for, whatever the server sends."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chunkstore.errors import StorageUnreachable

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class Body:
    """What is wanted: from `offset` on, at most `length` bytes, or all that there is."""

    offset: int
    length: int | None


def read_body(answer: Mapping[str, Any], wanted: Body, where: str) -> bytes:
    """The bytes that were wanted. StorageUnreachable, transient, when it is not these that come."""
    said = answer.get("ContentRange")
    with answer["Body"] as stream:
        if said is None:
            content: bytes = stream.read()
            _expect(len(content) == answer["ContentLength"], f"{where}: the answer broke off")
            _compare(content, answer.get("ChecksumSHA256"), where)
            end = None if wanted.length is None else wanted.offset + wanted.length
            # A server that knows no ranges sends all.
            return content[wanted.offset : end] if wanted.offset or end is not None else content
        size = _size_of_range(str(said), wanted, where)
        content = stream.read(size + 1)
    _expect(len(content) == size, f"{where}: the answer broke off")
    return content


def _compare(content: bytes, checksum: str | None, where: str) -> None:
    """With the checksum that was uploaded with the object, where the server has kept it."""
    if checksum is not None and "-" not in checksum:  # with a hyphen it is one of the parts' checksums
        same = b64encode(hashlib.sha256(content).digest()).decode() == checksum
        _expect(same, f"{where}: the answer was damaged on its way")


def _size_of_range(said: str, wanted: Body, where: str) -> int:
    """How many bytes are to come: those up to the end of what was wanted, or of the object."""
    match = _CONTENT_RANGE.fullmatch(said)
    _expect(match is not None, f"{where}: the answer is for no range that can be")
    assert match is not None
    first, last, total = int(match[1]), int(match[2]), match[3]
    ends = [limit - 1 for limit in (_end_of(wanted), _total(total)) if limit is not None]
    right = first == wanted.offset and first <= last and (not ends or last == min(ends))
    _expect(right, f"{where}: the answer is for another range than was asked for")
    return last - first + 1


def _end_of(wanted: Body) -> int | None:
    return None if wanted.length is None else wanted.offset + wanted.length


def _total(text: str) -> int | None:
    return None if text == "*" else int(text)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise StorageUnreachable(message, transient=True)
