"""Locks against deletion: until when, and in which mode of S3's object lock.

COMPLIANCE: nobody can delete the object before, not even the owner of the account. GOVERNANCE: who has a special right can.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from chunkstore.errors import InvalidArgument, StorageUnreachable
from chunkstore.storage.options import LOCK_MODES, StorageOptions, Waiting
from chunkstore.storage.s3_errors import code_of, status_of

DEFAULT_MODE: Final = LOCK_MODES[0]
_DAY_S: Final = 24 * 3600
_NO_LOCK: Final = (
    "NoSuchObjectLockConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "InvalidRequest",  # the bucket has no object lock
    "NotImplemented",
)


@dataclass(frozen=True, slots=True)
class Locks:
    """What is written is locked for so many days from then on, in this mode; `now`: seconds since 1970."""

    days: int
    now: Callable[[], float]
    mode: str = DEFAULT_MODE

    def fields(self) -> dict[str, Any]:
        """The arguments of a PUT."""
        return {
            "ObjectLockMode": self.mode,
            "ObjectLockRetainUntilDate": datetime.fromtimestamp(self.now() + self.days * _DAY_S, UTC),
        }


def locks_for(options: StorageOptions, waiting: Waiting) -> Locks | None:
    """What the options say; None without a retention."""
    if options.retention_days is None:
        return None
    if waiting.now is None:
        raise InvalidArgument("a storage with a retention has to be told the date")
    return Locks(options.retention_days, waiting.now, options.lock_mode)


@dataclass(frozen=True, slots=True)
class Lock:
    """The lock of an object; `until`: seconds since 1970."""

    mode: str
    until: float


def read_lock(client: Any, bucket: str, key: str) -> Lock | None:
    """The lock of an object; None also where there are no locks at all. Errors of botocore."""
    try:
        answer = client.get_object_retention(Bucket=bucket, Key=key)
    except ClientError as error:
        if code_of(error) in _NO_LOCK or status_of(error) == 501:
            return None
        raise
    retention = answer.get("Retention", {})
    until = retention.get("RetainUntilDate")
    return Lock(str(retention.get("Mode")), until.timestamp()) if isinstance(until, datetime) else None


def has_locks(client: Any, bucket: str) -> bool:
    """Whether objects of this bucket may have locks; True where we may not ask."""
    try:
        answer = client.get_object_lock_configuration(Bucket=bucket)
    except ClientError as error:
        return code_of(error) not in _NO_LOCK and status_of(error) not in (404, 405, 501)
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def require_lock(client: Any, bucket: str, key: str, what: str) -> None:
    """StorageUnreachable unless an object that was just put with a lock has one. Who may not ask must believe.

    HEAD does not tell: there are servers that know no locks, and show what they were sent. Errors of botocore.
    """
    try:
        locked = read_lock(client, bucket, key) is not None
    except ClientError as error:
        if status_of(error) not in (403, 500):
            raise
        locked = status_of(error) == 403
    if not locked:
        raise StorageUnreachable(
            f"{what} was stored, but is not locked: this server has no object lock. "
            "Leave the retention out, or use another bucket"
        )


def write_lock(client: Any, bucket: str, key: str, lock: Lock) -> None:
    """Put a lock on an object. Errors of botocore, also when that would shorten one."""
    retention = {"Mode": lock.mode, "RetainUntilDate": datetime.fromtimestamp(lock.until, UTC)}
    client.put_object_retention(Bucket=bucket, Key=key, Retention=retention)
