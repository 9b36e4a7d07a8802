"""What a snapshot did, counted: shown, stored in its record, and given as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Statistics:
    """Counts and bytes of one run. `stored_*` are bytes as they went to the storage, padding included."""

    files: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_unchanged: int = 0
    files_deleted: int = 0
    directories: int = 0
    links: int = 0
    specials: int = 0
    vanished: int = 0
    changed_while_read: int = 0
    """Files that did not hold still, and are stored as they were found."""
    errors: int = 0
    bytes: int = 0
    """Sizes of all files in the snapshot."""
    bytes_read: int = 0
    bytes_new: int = 0
    """Of what was read: the bytes of chunks that were not stored yet."""
    bytes_stored: int = 0
    """Packs and index objects that were put, whole."""
    bytes_new_stored: int = 0
    """Frames of new file content, compressed and encrypted, without what is around them."""
    chunks_new: int = 0
    packs: int = 0
    duration_ns: int = 0

    @property
    def deduplication(self) -> float:
        """Bytes read for each byte that was new; 1.0 where nothing was read."""
        return self.bytes_read / max(self.bytes_new, 1) if self.bytes_read else 1.0

    @property
    def compression(self) -> float:
        """New bytes for each byte of their frames; 1.0 where nothing was new."""
        return self.bytes_new / max(self.bytes_new_stored, 1) if self.bytes_new else 1.0

    @property
    def rate(self) -> float:
        """Bytes of the snapshot for each second."""
        return self.bytes * 1e9 / self.duration_ns if self.duration_ns else 0.0

    def as_record(self) -> dict[str, int]:
        """What is stored in the snapshot record."""
        return asdict(self)

    @classmethod
    def from_record(cls, values: dict[str, int]) -> Statistics:
        """From a record, whichever version wrote it: unknown counts are left out, missing ones are 0."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})
