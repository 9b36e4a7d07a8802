"""The URL or path a user gives -> a storage, with what wraps it.

Modules of remote storages are imported when one is opened: their libraries are large, and may not be there. Each has

    open(place, options, waiting) -> Storage

with the place as it is parsed here, and does its own retries; limits are put around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from chunkstore.errors import InvalidArgument
from chunkstore.storage.limited import LimitedStorage
from chunkstore.storage.local import LocalStorage
from chunkstore.storage.options import NO_OPTIONS, StorageOptions, Waiting
from chunkstore.storage.protocol import Storage

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_ACCEPTED: Final = "a path, file:///path, s3://bucket/prefix or sftp://user@host:port/path"

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET: Final = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_BUCKET_HELP: Final = "3 to 63 of a-z 0-9 . -, no two dots together, a letter or a digit at both ends"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# A key has at most 1,024 bytes; names of objects are shorter than 200.
_PREFIX_LIMIT: Final = 800

_S3_ALONE: Final = (
    "endpoint_url",
    "region",
    "profile",
    "ca_bundle",
    "verify_tls",
    "addressing_style",
    "storage_class",
    "retention_days",
    "lock_mode",
)


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, and what the keys in it begin with: empty, or with a slash at its end."""

    bucket: str
    prefix: str


def open_storage(
    url: str, *, create: bool = False, options: StorageOptions = NO_OPTIONS, waiting: Waiting | None = None
) -> Storage:
    """The storage at a path or URL; nothing is made by opening it. InvalidArgument for what can not be one.

    `create`: a place where nothing is yet counts as an empty storage, and the first object makes it; buckets are never
    made. `waiting` is needed for remote storages and for limits. The messages do not repeat a URL, which may hold a
    password.
    """
    storage = _open(url, create, options, waiting)
    if options.limit_upload is None and options.limit_download is None:
        return storage
    return LimitedStorage(storage, options.limit_upload, options.limit_download, _needed(waiting))


def is_s3(url: str) -> bool:
    """Whether the options for S3 mean something for this place."""
    return url[:5].lower() == "s3://"


def _open(url: str, create: bool, options: StorageOptions, waiting: Waiting | None) -> Storage:
    match = _URL.fullmatch(url)
    scheme, rest = ("", url) if match is None else (match[1].lower(), match[2])
    if scheme == "s3":
        return _open_s3(parse_s3(rest), options, _needed(waiting))
    if misplaced := [name for name in _S3_ALONE if getattr(options, name) != getattr(NO_OPTIONS, name)]:
        raise InvalidArgument(f"only s3:// storages have these options: {', '.join(misplaced)}")
    if scheme == "sftp":
        return _open_sftp(rest, create, options, _needed(waiting))
    if scheme == "file":
        return LocalStorage(_path_of_file_url(rest), create=create)
    if scheme:
        raise InvalidArgument(f"unknown kind of storage {scheme}://; give {_ACCEPTED}")
    return LocalStorage(_checked_path(rest), create=create)


def _open_s3(place: S3Place, options: StorageOptions, waiting: Waiting) -> Storage:
    try:
        from chunkstore.storage import s3
    except ImportError as error:
        raise _not_installed("s3", "boto3", "boto3", error) from error
    return s3.open(place, options, waiting)


def _open_sftp(rest: str, create: bool, options: StorageOptions, waiting: Waiting) -> Storage:
    try:
        from chunkstore.storage import sftp
    except ImportError as error:
        raise _not_installed("sftp", "paramiko", "'chunkstore[sftp]'", error) from error
    return sftp.open(rest, options, waiting, create=create)


def parse_s3(rest: str) -> S3Place:
    """What follows `s3://`, a bucket and a prefix. InvalidArgument says what is wrong, without repeating it."""
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:
        raise InvalidArgument(
            "no credentials in the URL, where others see them: give them as the AWS tools take them, "
            "in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in ~/.aws"
        )
    if ":" in bucket:
        raise InvalidArgument(
            "an s3:// URL begins with the bucket; the host goes to --endpoint-url: s3://bucket/prefix"
        )
    if "?" in rest or "#" in rest:
        raise InvalidArgument("an s3:// URL has no ? and no #: s3://bucket/prefix")
    if _BUCKET.fullmatch(bucket) is None:
        raise InvalidArgument(f"not the name of a bucket: {_BUCKET_HELP}")
    segments = [segment for segment in prefix.split("/") if segment]
    if {".", ".."} & set(segments) or _CONTROL.search(prefix):
        raise InvalidArgument("a prefix in S3 has no . or .. between slashes and no control characters")
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument("a prefix in S3 is UTF-8") from error
    if size > _PREFIX_LIMIT:
        raise InvalidArgument(
            f"a prefix in S3 of more than {_PREFIX_LIMIT} bytes leaves no room for the objects' names"
        )
    return S3Place(bucket, "".join(f"{segment}/" for segment in segments))


def _needed(waiting: Waiting | None) -> Waiting:
    if waiting is None:
        raise InvalidArgument("a remote storage, or one with limits, has to be told how to wait")
    return waiting


def _not_installed(scheme: str, library: str, package: str, error: ImportError) -> InvalidArgument:
    if error.name is not None and error.name.partition(".")[0] in (library, "botocore"):
        return InvalidArgument(f"{scheme}:// needs {library}, which is not installed: pip install {package}")
    return InvalidArgument(f"{scheme}:// is not supported by this version: {error}")


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
