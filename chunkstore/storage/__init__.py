"""Where objects are kept: the Storage protocol, and the storages that follow it."""

from chunkstore.storage.limited import LimitedStorage
from chunkstore.storage.local import LocalStorage
from chunkstore.storage.location import open_storage
from chunkstore.storage.memory import MemoryStorage
from chunkstore.storage.options import StorageOptions, Waiting
from chunkstore.storage.protocol import (
    Buffer,
    ObjectInfo,
    Storage,
    check_name,
    check_prefix,
    check_range,
    delete_many,
    entries,
    extend_retention,
    locked_until,
    may_lock,
)

__all__ = [
    "Buffer",
    "LimitedStorage",
    "LocalStorage",
    "MemoryStorage",
    "ObjectInfo",
    "Storage",
    "StorageOptions",
    "Waiting",
    "check_name",
    "check_prefix",
    "check_range",
    "delete_many",
    "entries",
    "extend_retention",
    "locked_until",
    "may_lock",
    "open_storage",
]
