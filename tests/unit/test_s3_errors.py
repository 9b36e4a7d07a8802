"""What S3 servers and botocore say becomes one clear message; what passes is marked so."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as botocore_errors
from botocore.parsers import ResponseParserError

from chunkstore.errors import ObjectMissing, StorageFull, StorageUnreachable
from chunkstore.storage.s3_errors import Request, explained, explanation

REQUEST = Request("s3://bucket/place", "bucket", "https://user:secret@host:9/", "s3:PutObject", "packs/ab/1")


def answer(code: str, status: int, message: str = "a message", **headers: str) -> botocore_errors.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return botocore_errors.ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("InvalidAccessKeyId", 403, "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", 403, "AWS_SECRET_ACCESS_KEY"),
        ("ExpiredToken", 400, "has expired"),
        ("InvalidToken", 400, "AWS_SESSION_TOKEN"),
        ("RequestTimeTooSkewed", 403, "clock"),
        ("NoSuchBucket", 404, "there is no bucket bucket at https://host:9"),
        ("AccessDenied", 403, "access denied to packs/ab/1: these credentials lack s3:PutObject for bucket bucket"),
        ("403", 403, "or the keys are wrong"),
        ("InvalidStorageClass", 400, "storage class"),
        ("InvalidObjectState", 403, "archived"),
        ("NotImplemented", 501, "does not know how to do this"),
        ("AuthorizationHeaderMalformed", 400, "another region"),
        ("SomethingNew", 400, "the server refuses: 400 SomethingNew, a message"),
    ],
)
def test_refusals_are_explained_and_do_not_pass(code: str, status: int, said: str) -> None:
    error = explanation(answer(code, status), REQUEST)
    assert isinstance(error, StorageUnreachable)
    assert not error.transient
    assert str(error).startswith("s3://bucket/place: ")
    assert said in str(error)
    assert "secret@" not in str(error)


def test_the_region_of_the_bucket_is_named() -> None:
    error = explanation(answer("PermanentRedirect", 301, **{"x-amz-bucket-region": "eu-north-1"}), REQUEST)
    assert "--region eu-north-1" in str(error)


def test_a_lock_where_there_are_none() -> None:
    request = Request("s3://b", "b", "https://host", "s3:PutObject or s3:PutObjectRetention", "packs/ab/1")
    assert "made with object lock" in str(explanation(answer("InvalidRequest", 400), request))
    assert "object lock" not in str(explanation(answer("InvalidRequest", 400), REQUEST))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("SlowDown", 503),
        ("InternalError", 500),
        ("500", 500),
        ("502", 502),
        ("RequestTimeout", 400),
        ("TooManyRequests", 429),
        ("ConditionalRequestConflict", 409),
        ("BadDigest", 400),
    ],
)
def test_what_passes(code: str, status: int) -> None:
    error = explanation(answer(code, status), REQUEST)
    assert isinstance(error, StorageUnreachable)
    assert error.transient


def test_missing_objects_and_full_storages() -> None:
    for code in ("NoSuchKey", "404", "NotFound"):
        assert isinstance(explanation(answer(code, 404), REQUEST), ObjectMissing)
    nameless = Request("s3://b", "b", "https://host", "s3:ListBucket")
    assert isinstance(explanation(answer("404", 404), nameless), StorageUnreachable)
    for code, status in (("QuotaExceeded", 403), ("507", 507), ("XMinioStorageFull", 507)):
        assert isinstance(explanation(answer(code, status), REQUEST), StorageFull)


URL = "https://user:secret@host:9/bucket?X-Amz-Signature=secret"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (botocore_errors.EndpointConnectionError(endpoint_url=URL, error=ConnectionRefusedError(111, "Refused")), "Refused"),
        (botocore_errors.ConnectTimeoutError(endpoint_url=URL), "no answer in time"),
        (botocore_errors.ReadTimeoutError(endpoint_url=URL), "no answer in time"),
        (botocore_errors.ConnectionClosedError(endpoint_url=URL), "the connection broke off"),
        (botocore_errors.ProxyConnectionError(proxy_url=URL), "proxy"),
        (botocore_errors.HTTPClientError(error=OSError(104, "Connection reset by peer")), "reset by peer"),
        (botocore_errors.ResponseStreamingError(error=OSError()), "the answer broke off"),
        (botocore_errors.IncompleteReadError(actual_bytes=1, expected_bytes=2), "the answer broke off"),
        (botocore_errors.FlexibleChecksumError(error_msg="x"), "damaged on its way"),
        (botocore_errors.SSLError(endpoint_url=URL, error=OSError("EOF occurred")), "the connection broke off"),
        (ConnectionResetError(104, "Connection reset by peer"), "reset by peer"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_trouble_with_the_network_passes(error: Exception, said: str) -> None:
    found = explanation(error, REQUEST)
    assert isinstance(found, StorageUnreachable)
    assert found.transient
    assert said in str(found)
    assert "https://host:9" in str(found)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (botocore_errors.NoCredentialsError(), "no credentials"),
        (botocore_errors.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "no credentials"),
        (
            botocore_errors.SSLError(
                endpoint_url=URL, error="[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed (_ssl.c:1)"
            ),
            "not trusted (self-signed)",
        ),
        (botocore_errors.SSLError(endpoint_url=URL, error="[SSL: WRONG_VERSION_NUMBER] wrong"), "plain HTTP"),
        (ResponseParserError("not XML"), "does not answer as an S3 server does"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_mistakes_do_not_pass(error: Exception, said: str) -> None:
    found = explanation(error, REQUEST)
    assert isinstance(found, StorageUnreachable)
    assert not found.transient
    assert said in str(found)


def test_what_a_server_says_is_shown_on_one_short_line() -> None:
    text = str(explanation(answer("Odd", 400, "first\nsecond\x1b[31m" + "x" * 5000), REQUEST))
    assert text.isprintable()
    assert len(text) < 400


def test_our_own_errors_and_mistakes_pass_through() -> None:
    for error in (StorageUnreachable("ours"), ValueError("a mistake"), KeyError("x")):
        with pytest.raises(type(error)) as caught, explained(REQUEST):
            raise error
        assert caught.value is error
