"""Everything that can go wrong, as one tree.

Each leaf says who can act on it; only the command line turns a class into an exit code.

    ChunkstoreError
    ├── InvalidArgument          the caller: an argument makes no sense
    ├── RepositoryError
    │   ├── NoRepository         the user: nothing there, or another place is meant
    │   ├── RepositoryExists     the user: `init` where a repository is
    │   ├── NotAClient           the user: this machine has to `join` first
    │   ├── UntrustedRepository  the user: it is not the repository whose fingerprint was given or pinned
    │   ├── UnsupportedFormat    the user: a newer chunkstore is needed
    │   ├── SnapshotNotFound     the user: no such snapshot, or the name is ambiguous
    │   ├── PathNotFound         the user: the snapshot does not have this path
    │   ├── PruneRefused         the user: nothing may be deleted as things are; the message says why and what to do
    │   ├── Fenced               nobody: the run starts again under a new id
    │   ├── IndexDamaged         nobody: the local index was thrown away; the run starts again
    │   └── Damaged              the owner of the storage: an object is not what was written
    ├── StorageError
    │   ├── ObjectMissing        the caller: looked for what is not there
    │   ├── StorageFull          the user: make room
    │   └── StorageUnreachable   the user: network, rights, host
    ├── KeyProblem
    │   ├── BadRecipient         the user: a GPG key that can not be encrypted to
    │   ├── NoUsableKey          the user: no private key at hand that opens this repository
    │   ├── BadSignature         the user: a signature is missing or false
    │   └── GpgFailed            the user: gpg is missing, timed out or broke off
    ├── SourceError              the user: nothing of what was asked for could be read
    ├── TargetError              the user: the place to restore to is not as it must be
    ├── HelperEnded              nobody: a process that we had started is gone; the run can be started again
    └── Interrupted              nobody: Ctrl-C or SIGTERM
"""

from __future__ import annotations


class ChunkstoreError(Exception):
    """Root of all errors that are raised on purpose. `str()` is a message for a person; no secret is in it."""


class InvalidArgument(ChunkstoreError):
    """An argument is malformed or contradicts another one."""


class RepositoryError(ChunkstoreError):
    """Something about the repository as a whole."""


class NoRepository(RepositoryError):
    """There is no repository at this place."""


class RepositoryExists(RepositoryError):
    """A repository, or something else, is already at this place."""


class NotAClient(RepositoryError):
    """This machine has no local state for the repository."""


class UntrustedRepository(RepositoryError):
    """The repository is not the one that was pinned or asked for."""


class UnsupportedFormat(RepositoryError):
    """The object was written by a newer format, or requires a feature unknown here."""


class SnapshotNotFound(RepositoryError):
    """No snapshot fits, or more than one does."""


class PathNotFound(RepositoryError):
    """The snapshot has no entry of this path."""


class PruneRefused(RepositoryError):
    """Something that a deletion would rest on can not be relied on; nothing has been deleted."""


class Fenced(RepositoryError):
    """A tombstone stands where this session wanted to commit."""


class IndexDamaged(RepositoryError):
    """The local copy of the index was damaged and has been removed."""


class Damaged(RepositoryError):
    """An object, or a piece of one, is not what was once written there.

    `object_name` is its name in the storage where one is known.
    """

    def __init__(self, message: str, object_name: str = "") -> None:
        super().__init__(f"{object_name}: {message}" if object_name else message)
        self.object_name = object_name
        self.reason = message


class StorageError(ChunkstoreError):
    """The storage did not do what it was asked."""


class ObjectMissing(StorageError):
    """There is no object of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no such object: {name}")
        self.object_name = name


class StorageFull(StorageError):
    """No space, or no quota, is left."""


class StorageUnreachable(StorageError):
    """The storage does not answer, or refuses. `transient`: the same call may succeed a moment later."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class KeyProblem(ChunkstoreError):
    """Something about GPG keys."""


class BadRecipient(KeyProblem):
    """A key that must not or can not be encrypted to."""


class NoUsableKey(KeyProblem):
    """No private key at hand opens this."""


class BadSignature(KeyProblem):
    """A signature does not verify, or is not from a pinned signer."""


class GpgFailed(KeyProblem):
    """gpg is missing, timed out, or ended otherwise than it must."""


class SourceError(ChunkstoreError):
    """Nothing of what was to be read could be read."""


class TargetError(ChunkstoreError):
    """The target of a restore is not as it must be."""


class HelperEnded(ChunkstoreError):
    """A process that this one had started for its work was killed, or failed."""


class Interrupted(ChunkstoreError):
    """The run was asked to end."""
