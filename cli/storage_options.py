"""Options about the storage of the repository: every command has them, `chunkstore --help` shows them.

Those for S3 have the names that the tools of AWS have for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from chunkstore.errors import InvalidArgument

if TYPE_CHECKING:
    from chunkstore.storage.options import StorageOptions

# As in chunkstore.storage.options, which would be slow to import for --help.
_CONNECTIONS: Final = 4
_ADDRESSING_STYLES: Final = ("auto", "path", "virtual")
_LOCK_MODES: Final = ("COMPLIANCE", "GOVERNANCE")

_DAY_SECONDS: Final = 86400

_OF_THE_PLACE: Final = ("endpoint_url", "region", "profile", "ca_bundle", "verify_tls", "addressing_style")
_USER_IN_URL: Final = re.compile(r"^([A-Za-z]+://)[^/]*@")


class StorageOption(click.Option):
    """An option that the help of the program shows, and the help of its commands leaves out: there are many."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if ctx.parent is None else None


@dataclass(frozen=True, slots=True)
class _Said:
    """An option, the field of `StorageOptions` that it sets, and whether only S3 has it."""

    flag: str
    field: str
    help: str
    s3: bool = True
    metavar: str | None = None
    type: Any = None
    parse: Callable[[str], object] | None = None
    value: object = None


def _size(text: str) -> int:
    from chunkstore.units import parse_size

    return parse_size(text)


def _days(text: str) -> int:
    """An age in days, begun ones counted."""
    from chunkstore.units import parse_age

    return -(-parse_age(text) // _DAY_SECONDS)


_OPTIONS: Final = (
    _Said(
        "--limit-upload",
        "limit_upload",
        "Send at most so many bytes a second: 500K, 10M.",
        False,
        "RATE",
        None,
        _size,
    ),
    _Said("--limit-download", "limit_download", "Get at most so many bytes a second.", False, "RATE", None, _size),
    _Said(
        "--connections",
        "connections",
        f"Requests at once, {_CONNECTIONS} if not said.",
        False,
        "N",
        click.INT,
    ),
    _Said("--endpoint-url", "endpoint_url", "S3: the server, where it is not that of AWS.", metavar="URL"),
    _Said("--region", "region", "S3: the region.", metavar="NAME"),
    _Said("--profile", "profile", "S3: the section of ~/.aws to use.", metavar="NAME"),
    _Said("--ca-bundle", "ca_bundle", "S3: certificates to trust, a file.", metavar="FILE"),
    _Said("--no-verify-ssl", "verify_tls", "S3: accept any certificate. Only for tests.", value=False),
    _Said(
        "--addressing-style",
        "addressing_style",
        "S3: where the bucket is in URLs.",
        type=click.Choice(_ADDRESSING_STYLES),
    ),
    _Said("--storage-class", "storage_class", "S3: the class for the packs: STANDARD_IA ...", metavar="NAME"),
    _Said("--retention", "retention_days", "S3: lock what is written for so long: 30d.", metavar="AGE", parse=_days),
    _Said(
        "--lock-mode",
        "lock_mode",
        "S3: who may undo such a lock: COMPLIANCE, nobody.",
        type=click.Choice(_LOCK_MODES, case_sensitive=False),
    ),
)


def storage_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; their values arrive under the names of the fields."""
    for each in reversed(_OPTIONS):
        function = click.option(
            each.flag,
            each.field,
            cls=StorageOption,
            default=None,
            metavar=each.metavar,
            help=each.help,
            callback=_parsed(each.parse),
            **({"type": each.type} if each.type else {}),
            **({"flag_value": each.value} if each.value is not None else {}),
        )(function)
    return function


def take(said: dict[str, object], given: dict[str, Any]) -> None:
    """Move what was given out of the arguments of a command; what was not given changes nothing."""
    for each in _OPTIONS:
        if (value := given.pop(each.field)) is not None:
            said[each.field] = value


def options_for(said: Mapping[str, Any], s3: bool) -> StorageOptions:
    """What was said, as values; a usage error for what means nothing where the repository is."""
    misplaced = [each.flag for each in _OPTIONS if each.s3 and each.field in said]
    if misplaced and not s3:
        raise click.UsageError(f"{' and '.join(misplaced)}: only for repositories at s3://bucket/prefix.")
    from chunkstore.storage.options import StorageOptions

    return StorageOptions(**said)


def said_of_the_place(said: Mapping[str, object]) -> list[str]:
    """What was said about where the storage is and who asks, as words of a command line: every command needs it again.

    No password that was in a URL is repeated; S3 has no use for one there.
    """
    words: list[str] = []
    for each in _OPTIONS:
        if each.field not in _OF_THE_PLACE or each.field not in said:
            continue
        value = str(said[each.field])
        words += [each.flag] if each.value is not None else [each.flag, _USER_IN_URL.sub(r"\1", value)]
    return words


def without_s3(said: Mapping[str, object]) -> dict[str, object]:
    """What was said that means something everywhere."""
    of_s3 = {each.field for each in _OPTIONS if each.s3}
    return {name: value for name, value in said.items() if name not in of_s3}


def _parsed(parse: Callable[[str], object] | None) -> Callable[[click.Context, click.Parameter, Any], object]:
    """A callback that parses, and says which option could not be parsed."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> object:
        if value is None or parse is None:
            return value
        try:
            return parse(value)
        except InvalidArgument as e:
            raise click.BadParameter(str(e)) from e

    return callback
