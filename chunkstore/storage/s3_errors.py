"""What S3 servers and botocore say -> errors that tell a person what to do. Nothing of it is believed or obeyed.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. An answer to HEAD has no body, hence no code
but the status.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from botocore import exceptions as botocore_errors
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from chunkstore.errors import ObjectMissing, StorageError, StorageFull, StorageUnreachable

LIBRARY_ERRORS: Final = (
    botocore_errors.BotoCoreError,
    botocore_errors.ClientError,
    ResponseParserError,
    HTTPError,
    OSError,
)

_TRANSIENT_STATUS: Final = frozenset((408, 429, 500, 502, 503, 504))
_TRANSIENT: Final = frozenset(
    (
        "InternalError",
        "SlowDown",
        "ServiceUnavailable",
        "RequestTimeout",
        "RequestTimeoutException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "ConditionalRequestConflict",
        "OperationAborted",
        "BadDigest",
        "InvalidDigest",
        "IncompleteBody",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
    )
)
_FULL: Final = frozenset(
    (
        "QuotaExceeded",
        "QuotaExceededException",
        "InsufficientStorage",
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
    )
)
_ADVICE: Final = {
    "InvalidAccessKeyId": "the server does not know this access key: check AWS_ACCESS_KEY_ID, or --profile",
    "SignatureDoesNotMatch": "the secret key does not fit the access key: check AWS_SECRET_ACCESS_KEY, or --profile",
    "InvalidToken": "the session token is not valid: check AWS_SESSION_TOKEN, or --profile",
    "ExpiredToken": "the session token has expired: get new credentials",
    "TokenRefreshRequired": "the session token has expired: get new credentials",
    "InvalidClientTokenId": "the server does not know this access key: check AWS_ACCESS_KEY_ID, or --profile",
    "AccountProblem": "the account is suspended: ask who runs it",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by minutes, or that of the server: set it (NTP)",
    "RequestExpired": "the clock of this machine is wrong by minutes, or that of the server: set it (NTP)",
    "InvalidBucketName": "this can not be the name of a bucket",
    "NotImplemented": "the server does not know how to do this",
    "InvalidStorageClass": "the server does not have this storage class",
    "InvalidObjectState": "the object is archived and can not be read at once: have it restored first, or use another "
    "storage class",
    "MethodNotAllowed": "the server does not allow this",
}
_ELSEWHERE: Final = frozenset(
    (
        "PermanentRedirect",
        "TemporaryRedirect",
        "Redirect",
        "301",
        "307",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "InvalidRegionName",
    )
)
_CREDENTIALS_MISSING: Final = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.CredentialRetrievalError,
    botocore_errors.TokenRetrievalError,
    botocore_errors.SSOError,
    botocore_errors.NoAuthTokenError,
)
_NOT_ARRIVED: Final = (
    botocore_errors.ConnectionError,
    botocore_errors.HTTPClientError,
    botocore_errors.IncompleteReadError,
    botocore_errors.ResponseStreamingError,
    botocore_errors.FlexibleChecksumError,
    botocore_errors.ChecksumError,
    botocore_errors.MetadataRetrievalError,
    HTTPError,
    OSError,
)
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, for messages: the storage, its bucket and host, the right it takes, the object if one."""

    location: str
    bucket: str
    endpoint: str
    right: str
    name: str = ""


@contextmanager
def explained(request: Request) -> Iterator[None]:
    """What goes wrong in the block, as an error of ours."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise explanation(error, request) from error


def explanation(error: BaseException, request: Request) -> StorageError:
    """The error of ours that says what happened. ObjectMissing when just the object is not there."""
    if isinstance(error, botocore_errors.ClientError):
        return _refused(error, request)
    where = f"{request.location}: "
    if isinstance(error, _CREDENTIALS_MISSING):
        return StorageUnreachable(
            f"{where}no credentials for S3 were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a "
            f"profile that has them with --profile ({_clean(str(error))})"
        )
    if isinstance(error, botocore_errors.SSLError) and (said := _tls_trouble(str(error))):
        return StorageUnreachable(f"{where}no TLS with {host(request.endpoint)}: {said}")
    if isinstance(error, ResponseParserError):
        return no_s3_server(request)
    if isinstance(error, _NOT_ARRIVED):
        return StorageUnreachable(f"{where}{host(request.endpoint)}: {_network_trouble(error)}", transient=True)
    return StorageUnreachable(f"{where}{_clean(str(error))}")


def no_s3_server(request: Request) -> StorageUnreachable:
    """The error for an answer that makes no sense."""
    return StorageUnreachable(f"{request.location}: {host(request.endpoint)} does not answer as an S3 server does")


def code_of(error: botocore_errors.ClientError) -> str:
    """The code of an answer that is an error; the status as text where there is none."""
    return str(error.response.get("Error", {}).get("Code") or status_of(error))


def status_of(error: botocore_errors.ClientError) -> int:
    """The HTTP status of an answer that is an error."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def was_retried(error: botocore_errors.ClientError) -> bool:
    """Whether botocore sent the request more than once."""
    return bool(error.response.get("ResponseMetadata", {}).get("RetryAttempts"))


def host(endpoint: str) -> str:
    """An endpoint without what may be secret in it."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _refused(error: botocore_errors.ClientError, request: Request) -> StorageError:
    code, status = code_of(error), status_of(error)
    where = f"{request.location}: "
    if code == "NoSuchBucket":
        return StorageUnreachable(
            f"{where}there is no bucket {request.bucket} at {host(request.endpoint)}. Check its name and --endpoint-url, "
            "or make the bucket: chunkstore makes none"
        )
    if request.name and (code in ("NoSuchKey", "NotFound", "404", "NoSuchVersion")):
        return ObjectMissing(request.name)
    if code in _FULL or status == 507:
        return StorageFull(f"{where}no room is left ({code}); make room there, then run again")
    if code in _TRANSIENT or status in _TRANSIENT_STATUS:
        return StorageUnreachable(f"{where}{host(request.endpoint)} answers {_said(error)}", transient=True)
    if code in _ELSEWHERE:
        return StorageUnreachable(f"{where}{_elsewhere(error, request)}")
    if code == "InvalidRequest" and "Retention" in request.right:
        return StorageUnreachable(
            f"{where}{_about(request)}the server refuses to lock it ({_said(error)}): a retention needs a bucket that was "
            "made with object lock. Use such a bucket, or leave the retention out"
        )
    if code in _ADVICE:
        return StorageUnreachable(f"{where}{_about(request)}{_ADVICE[code]} ({code})")
    if code in ("AccessDenied", "AllAccessDisabled", "Forbidden", "403"):
        return StorageUnreachable(f"{where}{_denied(code, request)}")
    return StorageUnreachable(f"{where}{_about(request)}the server refuses: {_said(error)}")


def _about(request: Request) -> str:
    return f"{request.name}: " if request.name else ""


def _denied(code: str, request: Request) -> str:
    """HEAD gives no reason; and without the right to list, what is missing is denied."""
    what = f" to {request.name}" if request.name else ""
    unsure = code == "403" or request.right == "s3:GetObject"
    reading = "; without s3:ListBucket that is also the answer where an object is missing" if unsure else ""
    keys = ", or the keys are wrong" if code == "403" else ""
    return f"access denied{what}: these credentials lack {request.right} for bucket {request.bucket}{keys}{reading}"


def _elsewhere(error: botocore_errors.ClientError, request: Request) -> str:
    headers: Any = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    meant = f": --region {_clean(str(region))}" if region else ""
    return f"bucket {request.bucket} is in another region{meant} ({code_of(error)})"


def _said(error: botocore_errors.ClientError) -> str:
    message = error.response.get("Error", {}).get("Message")
    status = status_of(error)
    code = code_of(error)
    shown = str(status) if code == str(status) else f"{status} {code}"
    return _clean(f"{shown}, {message}" if message else shown)


def _tls_trouble(message: str) -> str:
    """What is wrong for good; empty for what may be the network."""
    if "CERTIFICATE_VERIFY_FAILED" in message or "certificate verify failed" in message:
        reason = message.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return f"its certificate is not trusted ({_clean(reason) or 'unknown issuer'}). Name the file of its authority with --ca-bundle"
    if "WRONG_VERSION_NUMBER" in message:
        return "it speaks plain HTTP there; is the endpoint http://?"
    if "doesn't match" in message or "Hostname mismatch" in message:
        return "its certificate is for another host"
    return ""


def _network_trouble(error: BaseException) -> str:
    """The reason in the words of the system where it is known."""
    if isinstance(error, botocore_errors.ReadTimeoutError | botocore_errors.ConnectTimeoutError):
        return "no answer in time"
    if isinstance(error, botocore_errors.FlexibleChecksumError | botocore_errors.ChecksumError):
        return "the answer was damaged on its way"
    if isinstance(error, botocore_errors.IncompleteReadError | botocore_errors.ResponseStreamingError):
        return "the answer broke off"
    if isinstance(error, botocore_errors.ProxyConnectionError):
        return "the proxy can not be reached"
    reason = _system_reason(error)
    if isinstance(error, botocore_errors.EndpointConnectionError):
        return f"can not be reached{f' ({reason})' if reason else ''}"
    return f"the connection broke off{f' ({reason})' if reason else ''}"


def _system_reason(error: BaseException | None) -> str:
    """The words of the operating system, from what the error was made of."""
    for _ in range(10):
        if error is None:
            break
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        inner: Any = getattr(error, "kwargs", {}).get("error") if hasattr(error, "kwargs") else None
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return ""


def _clean(text: str) -> str:
    """What somebody else said, on one line and not too long."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
