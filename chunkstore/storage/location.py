"""The URL or path a user gives -> a storage."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from chunkstore.errors import InvalidArgument
from chunkstore.storage.local import LocalStorage
from chunkstore.storage.protocol import Storage

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_ACCEPTED: Final = "a path or file:///path"
_PLANNED: Final = ("s3", "sftp")


def open_storage(url: str, *, create: bool = False) -> Storage:
    """The storage at a path or `file://` URL; nothing is made by opening it. InvalidArgument for anything else.

    `create`: a place where nothing is yet counts as an empty storage, and the first object makes it. The messages
    do not repeat a URL, which may hold a password.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return LocalStorage(_checked_path(url), create=create)
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        return LocalStorage(_path_of_file_url(rest), create=create)
    if scheme in _PLANNED:
        raise InvalidArgument(f"{scheme}:// is not supported yet by this version; give {_ACCEPTED}")
    raise InvalidArgument(f"unknown kind of storage {scheme}://; give {_ACCEPTED}")


def _path_of_file_url(rest: str) -> str:
    """The path in what follows `file://`, as RFC 8089 has it: no host or localhost, then the path, %-encoded."""
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise InvalidArgument("a file:// URL has no host and an absolute path: file:///path")
    # RFC 8089 paths are bytes; surrogateescape is how Python carries those that are not UTF-8.
    return _checked_path(unquote(f"/{path}", errors="surrogateescape"))


def _checked_path(path: str) -> str:
    """InvalidArgument for what can not be a path."""
    if not path or "\0" in path:
        raise InvalidArgument(f"not a place for a storage: {path!r}; give {_ACCEPTED}")
    return path
