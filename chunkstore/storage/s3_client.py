"""A boto3 client for a bucket: credentials, endpoint, region and TLS as the AWS tools find them, unless options say so."""

from __future__ import annotations

from typing import Any, Final

import boto3.session
import urllib3
from botocore import exceptions as botocore_errors
from botocore.config import Config

from chunkstore.errors import InvalidArgument
from chunkstore.storage.options import StorageOptions
from chunkstore.storage.s3_errors import Request, explanation
from chunkstore.storage.s3_sending import do_not_ask_before

CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 60
_ATTEMPTS: Final = 3
_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_ANY_REGION: Final = "us-east-1"
_MISTAKES: Final = (
    botocore_errors.ProfileNotFound,
    botocore_errors.InvalidRegionError,
    botocore_errors.ConfigParseError,
    botocore_errors.ConfigNotFound,
    botocore_errors.InvalidConfigError,
    ValueError,
)


def make_client(
    location: str,
    options: StorageOptions,
    *,
    connect_timeout: float = CONNECT_TIMEOUT_S,
    read_timeout: float = READ_TIMEOUT_S,
) -> Any:
    """A client that threads may share. `connect_timeout` also counts for each piece that is sent. InvalidArgument for a profile, region or endpoint that can not be.

    Path style is used unless the endpoint is one of AWS: elsewhere names of hosts rarely stand for buckets.
    """
    if not options.verify_tls:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # who says so knows
    timeouts = connect_timeout, read_timeout
    try:
        style = options.addressing_style
        client = _make(options, "path" if style == "auto" else style, timeouts)
        if style == "auto" and _is_aws(client.meta.endpoint_url):
            client = _make(options, "auto", timeouts)
    except _MISTAKES as error:
        raise InvalidArgument(f"{location}: {error}") from error
    except botocore_errors.BotoCoreError as error:
        raise explanation(error, Request(location, "", options.endpoint_url or "", "")) from error
    return client


def _make(options: StorageOptions, style: str, timeouts: tuple[float, float]) -> Any:
    session = boto3.session.Session(profile_name=options.profile, region_name=options.region)
    config = Config(
        s3={"addressing_style": style, "payload_signing_enabled": False},
        # Every upload has a checksum that is signed, so that the body needs no signature of its own; see `s3`.
        request_checksum_calculation="when_required",
        # Some servers send the whole object's checksum with a range of it.
        response_checksum_validation="when_required",
        connect_timeout=timeouts[0],
        read_timeout=timeouts[1],
        tcp_keepalive=True,
        max_pool_connections=max(options.connections, 10),
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    client = session.client(
        "s3",
        endpoint_url=options.endpoint_url,
        region_name=session.region_name or _ANY_REGION,
        verify=options.verify_tls and (options.ca_bundle or None),
        config=config,
    )
    client.meta.events.register("before-call.s3.GetObject", _ask_for_checksum)
    client.meta.events.register("before-sign.s3.PutObject", do_not_ask_before)
    return client


def _ask_for_checksum(params: dict[str, Any], **_: object) -> None:
    """Have a GET answered with the checksum of the whole object, if there is one; `s3_reading` compares.

    By the parameter for it botocore would compare as well, but it fails on answers 5xx that have a checksum.
    """
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"


def _is_aws(endpoint: str) -> bool:
    host = endpoint.partition("://")[2].partition("/")[0].partition(":")[0]
    return host.endswith(_AWS)
