"""Files and directories over an SFTP session, with many requests under way, so that distance costs little.

Each function has taken all answers to what it asked for when it returns or raises Refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from chunkstore.storage.sftp_packets import READ, Attributes, Entry, Kind, Refused, Status, string, u32, u64
from chunkstore.storage.sftp_session import IN_FLIGHT, SftpSession

# Offsets of files are signed in most systems.
_LARGEST_OFFSET: Final = 1 << 62


class NotAFile(Exception):
    """There is something of this name, but no file."""


def write(session: SftpSession, handle: bytes, data: memoryview) -> None:
    """Write a file from its beginning."""
    waiting: deque[int] = deque()
    refused: Refused | None = None
    for offset in range(0, len(data), session.transfer):
        piece = data[offset : offset + session.transfer]
        waiting.append(session.post(Kind.WRITE, string(handle), u64(offset), u32(len(piece)), piece))
        if len(waiting) * session.transfer > IN_FLIGHT:
            refused = session.refusal(waiting.popleft())
        if refused:
            break
    for number in waiting:
        refused = session.refusal(number) or refused
    if refused:
        raise refused


def read(session: SftpSession, path: bytes, offset: int, length: int | None) -> bytes:
    """At most `length` bytes of a file from `offset` on; fewer only where it ends. NotAFile."""
    handle = session.open(path, READ)
    try:
        early = min(session.transfer, session.transfer if length is None else length)
        size_asked = session.post(Kind.FSTAT, string(handle))
        # The first bytes come together with the size, which bounds what is allocated for the others.
        asked = _ask(session, handle, offset, early) if early and offset < _LARGEST_OFFSET else None
        refused = first = None
        if asked is not None:
            first, refused = _outcome(session, asked, early)
        attributes = session.fields(size_asked, Kind.ATTRS).attributes()
        if not attributes.is_file:
            raise NotAFile
        if refused:
            raise refused
        wanted = _within(attributes, offset, length)
        got = first or b""
        if len(got) >= wanted:
            return got[:wanted]
        return b"".join((got, *_read_rest(session, handle, offset + len(got), wanted - len(got))))
    finally:
        if session.idle:
            session.close_all([handle])


def list_directories(session: SftpSession, paths: Sequence[bytes]) -> list[list[Entry]]:
    """What is in each of these directories; nothing for those that are missing. Each round asks for all at once."""
    found: list[list[Entry]] = [[] for _ in paths]
    handles: dict[int, bytes] = {}
    failed: Refused | None = None
    for position, number in enumerate([session.post(Kind.OPENDIR, string(path)) for path in paths]):
        try:
            handles[position] = session.fields(number, Kind.HANDLE).string()
        except Refused as error:
            failed = failed or (None if error.missing else error)
    unread = {} if failed else dict(handles)
    while unread:
        asked = [(position, session.post(Kind.READDIR, string(handle))) for position, handle in unread.items()]
        for position, number in asked:
            try:
                found[position] += session.fields(number, Kind.NAME).entries()
            except Refused as error:
                del unread[position]
                failed = failed or (None if error.code == Status.EOF else error)
    session.close_all(handles.values())
    if failed:
        raise failed
    return found


def _within(attributes: Attributes, offset: int, length: int | None) -> int:
    """How many bytes of a range the file has."""
    available = max(0, (attributes.size or 0) - offset)
    return available if length is None else min(length, available)


def _read_rest(session: SftpSession, handle: bytes, offset: int, length: int) -> list[bytes]:
    """Bytes in pieces. Servers may answer with less than was asked for: then it is asked for again from there."""
    pieces: list[bytes] = []
    while length > 0:
        run = _read_run(session, handle, offset, length)
        size = sum(map(len, run))
        if not size:
            break
        pieces += run
        offset, length = offset + size, length - size
    return pieces


def _read_run(session: SftpSession, handle: bytes, offset: int, length: int) -> list[bytes]:
    """Pieces that follow each other, up to and with the first that is shorter than asked."""
    end = offset + length
    waiting: deque[tuple[int, int]] = deque()
    pieces: list[bytes] = []
    complete, failed = True, None
    while True:
        while complete and offset < end and len(waiting) * session.transfer < IN_FLIGHT:
            size = min(session.transfer, end - offset)
            waiting.append((_ask(session, handle, offset, size), size))
            offset += size
        if not waiting:
            break
        number, size = waiting.popleft()
        piece, refused = _outcome(session, number, size)
        failed = failed or refused
        if complete:
            pieces.append(piece)
        complete = complete and len(piece) == size
    if failed:
        raise failed
    return pieces


def _ask(session: SftpSession, handle: bytes, offset: int, size: int) -> int:
    return session.post(Kind.READ, string(handle), u64(offset), u32(size))


def _outcome(session: SftpSession, number: int, size: int) -> tuple[bytes, Refused | None]:
    """What came back for a read; nothing at the end of the file."""
    try:
        piece = session.fields(number, Kind.DATA).string()
    except Refused as error:
        return b"", None if error.code == Status.EOF else error
    if len(piece) > size:
        raise session.garbled("more bytes than were asked for")
    return piece, None
