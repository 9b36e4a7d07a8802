"""Objects in an S3 bucket: the key of each is the prefix and its name.

What is relied on: reads and listings show what was written (S3 since 2020, and every server we know); a PUT appears whole;
`If-None-Match: *` is kept, or ignored, which `init` finds out.

Every upload has a SHA-256 in a signed header: a server that knows them refuses a body that is another, keeps the sum, and
sends it back. One that does not send it back gets a Content-MD5 as well from then on, which all others verify.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from chunkstore.errors import ObjectMissing, StorageUnreachable
from chunkstore.storage import s3_locks
from chunkstore.storage.options import CONNECTIONS, StorageOptions, Waiting
from chunkstore.storage.protocol import Buffer, ObjectInfo, Storage, check_name, check_prefix, check_range, is_name
from chunkstore.storage.retrying import RetryingStorage
from chunkstore.storage.s3_client import make_client
from chunkstore.storage.s3_errors import Request, code_of, explained, host, no_s3_server, status_of, was_retried
from chunkstore.storage.s3_listing import in_order, seconds
from chunkstore.storage.s3_placement import is_cold, is_locked
from chunkstore.storage.s3_reading import Body, read_body
from chunkstore.storage.s3_sending import Upload

if TYPE_CHECKING:
    from chunkstore.storage.location import S3Place

_IN_ONE_DELETE: Final = 1000
# A key longer than this is none of ours; a range that ends further out is one to the end of the object.
_FAR: Final = 1 << 62


def open(place: S3Place, options: StorageOptions, waiting: Waiting) -> Storage:
    """The storage in a bucket, which tries again what fails for a moment. Nothing is sent yet."""
    location = f"s3://{place.bucket}/{place.prefix}".rstrip("/")
    client = make_client(location, options)
    cold, locks = options.storage_class, s3_locks.locks_for(options, waiting)
    storage = S3Storage(
        client, place.bucket, place.prefix, storage_class=cold, locks=locks, connections=options.connections
    )
    return RetryingStorage(storage, options.retry_deadline, waiting)


class S3Storage:
    """Objects in a bucket, below a prefix (empty, or with a slash at its end). See `Storage`.

    `client` is a boto3 client for S3; all threads share it. Content packs go to `storage_class`. With `locks` what is not
    meant to go is put under retention: the bucket must have object lock.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
        *,
        storage_class: str | None = None,
        locks: s3_locks.Locks | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._storage_class = storage_class
        self._locks = locks
        self._connections = connections
        # Both only ever change one way, and too late does no harm: no lock.
        self._needs_md5 = False
        self._bucket_is_there = False
        self._locks_work = False

    @property
    def location(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def connections(self) -> int:
        """See `TakesManyRequests`."""
        return self._connections

    # -- writing

    def put(self, name: str, data: Buffer) -> None:
        check_name(name)
        with explained(self._request(self._right_to_put(name), name)):
            self._put(name, data)

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        check_name(name)
        with explained(self._request(self._right_to_put(name), name)):
            try:
                self._put(name, data, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) != 412:
                    raise
                # botocore's own second try finds what its first one stored when just the answer was lost.
                if not was_retried(error):
                    return False
            else:
                return True
        try:
            return self.get(name) == data
        except ObjectMissing as error:
            raise StorageUnreachable(f"{self.location}: {name} was there and is gone again", transient=True) from error

    def _put(self, name: str, body: Buffer, **conditions: str) -> None:
        checksum = b64encode(hashlib.sha256(body).digest()).decode()
        fields: dict[str, Any] = {"ChecksumSHA256": checksum, **conditions}
        if self._needs_md5:
            fields["ContentMD5"] = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        if self._storage_class is not None and is_cold(name, body):
            fields["StorageClass"] = self._storage_class
        if self._locks is not None and is_locked(name):
            fields |= self._locks.fields()
        answer = self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=Upload(body), **fields)
        self._expect("ETag" in answer)
        stored = answer.get("ChecksumSHA256")
        if stored is None:
            self._needs_md5 = True
        elif stored != checksum:
            raise StorageUnreachable(f"{self.location}: {name}: the server stored other bytes", transient=True)
        self._bucket_is_there = True
        if "ObjectLockMode" in fields and not self._locks_work:
            self._check_lock(name)

    def delete(self, name: str) -> None:
        check_name(name)
        with explained(self._request("s3:DeleteObject", name)):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=self._key(name))
            except ClientError as error:
                if code_of(error) not in ("NoSuchKey", "404"):
                    raise

    def delete_many(self, names: Iterable[str]) -> None:
        """See `DeletesMany`: 1,000 in a request."""
        every = iter(names)
        while batch := list(islice(every, _IN_ONE_DELETE)):
            for name in batch:
                check_name(name)
            with explained(self._request("s3:DeleteObject", batch[0])):
                self._delete_batch(batch)

    def _delete_batch(self, batch: list[str]) -> None:
        objects = {"Objects": [{"Key": self._key(name)} for name in batch], "Quiet": True}
        try:
            answer = self._client.delete_objects(Bucket=self._bucket, Delete=objects)
        except ClientError as error:
            if code_of(error) not in ("NotImplemented", "MethodNotAllowed"):
                raise
            for name in batch:
                self.delete(name)
            return
        for refused in answer.get("Errors", ()):
            if refused.get("Code") != "NoSuchKey":
                raise ClientError({"Error": {**refused}, "ResponseMetadata": {}}, "DeleteObjects")

    # -- reading

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        check_range(offset, length)
        if length == 0:
            self.stat(name)
            return b""
        if offset == 0 and length is None:
            return self._got(name, Body(0, None))
        end = "" if length is None or offset + length > _FAR else str(offset + length - 1)
        try:
            return self._got(name, Body(min(offset, _FAR), length), Range=f"bytes={min(offset, _FAR)}-{end}")
        except _BeyondTheEnd:
            return b""

    def _got(self, name: str, wanted: Body, **fields: str) -> bytes:
        with explained(self._request("s3:GetObject", name)):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name), **fields)
            except ClientError as error:
                if status_of(error) == 416:
                    raise _BeyondTheEnd from error
                raise
            self._expect("ETag" in answer)
            self._bucket_is_there = True
            return read_body(answer, wanted, f"{self.location}: {name}")

    def stat(self, name: str) -> ObjectInfo:
        check_name(name)
        request = self._request("s3:GetObject", name)
        try:
            with explained(request):
                answer = self._client.head_object(Bucket=self._bucket, Key=self._key(name))
        except ObjectMissing:
            self._require_bucket()
            raise
        self._expect("ETag" in answer)
        self._bucket_is_there = True
        return ObjectInfo(name, int(answer["ContentLength"]), seconds(answer.get("LastModified")))

    def _require_bucket(self) -> None:
        """StorageUnreachable when the bucket is missing: an answer to HEAD does not tell that from a missing object."""
        if self._bucket_is_there:
            return
        try:
            with explained(self._request("s3:ListBucket")):
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except StorageUnreachable as error:
            if isinstance(error.__cause__, ClientError) and code_of(error.__cause__) != "NoSuchBucket":
                return  # no right to know
            raise
        self._bucket_is_there = True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. Names that no object of ours can have are left out."""
        check_prefix(prefix)
        return in_order(self._listing(prefix), prefix, self.location)

    def _listing(self, prefix: str) -> Iterator[ObjectInfo]:
        more: dict[str, str] = {}
        while True:
            with explained(self._request("s3:ListBucket")):
                page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._key(prefix), **more)
            self._expect("Name" in page and "IsTruncated" in page)
            self._bucket_is_there = True
            for each in page.get("Contents", ()):
                name = str(each["Key"])[len(self._prefix) :]
                if is_name(name) and name.startswith(prefix):
                    yield ObjectInfo(name, int(each["Size"]), seconds(each.get("LastModified")))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def entries(self) -> Sequence[str]:
        """See `ShowsEntries`. Not by a delimiter: some servers show directories for a while in which nothing is any more."""
        with explained(self._request("s3:ListBucket")):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix)
        self._expect("Name" in page)
        keys = (str(each["Key"]) for each in page.get("Contents", ()))
        return [key[len(self._prefix) :] for key in keys if not key.endswith("/")]  # made by web pages, for directories

    # -- locks

    def extend_retention(self, name: str, until: float) -> bool:
        """See `LocksObjects`. The mode stays what it is.

        Looked at first: a look costs a twelfth of a change at AWS, and a change that would shorten a lock is refused with
        the words for a right that is lacking.
        """
        check_name(name)
        with explained(self._request("s3:GetObjectRetention", name)):
            lock = s3_locks.read_lock(self._client, self._bucket, self._key(name))
        if lock is not None and lock.until >= until:
            return False
        mode = lock.mode if lock else self._locks.mode if self._locks else s3_locks.DEFAULT_MODE
        with explained(self._request("s3:PutObjectRetention", name)):
            s3_locks.write_lock(self._client, self._bucket, self._key(name), s3_locks.Lock(mode, until))
        return True

    def locked_until(self, name: str) -> float | None:
        """See `LocksObjects`."""
        check_name(name)
        with explained(self._request("s3:GetObjectRetention", name)):
            lock = s3_locks.read_lock(self._client, self._bucket, self._key(name))
        return lock.until if lock else None

    def may_lock(self) -> bool:
        """See `LocksObjects`."""
        return s3_locks.has_locks(self._client, self._bucket)

    def _check_lock(self, name: str) -> None:
        """Once a run: some servers take the request for a lock, and keep none. Who may not look must believe."""
        s3_locks.require_lock(self._client, self._bucket, self._key(name), f"{self.location}: {name}")
        self._locks_work = True

    # -- small things

    def _expect(self, genuine: bool) -> None:
        """A page of a hotel's network, in answer to everything, would pass for an empty bucket."""
        if not genuine:
            raise no_s3_server(self._request(""))

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _request(self, right: str, name: str = "") -> Request:
        return Request(self.location, self._bucket, host(self._client.meta.endpoint_url), right, name)

    def _right_to_put(self, name: str) -> str:
        locked = self._locks is not None and is_locked(name)
        return "s3:PutObject or s3:PutObjectRetention" if locked else "s3:PutObject"


class _BeyondTheEnd(Exception):
    """A range that begins where the object has ended."""
