"""What can be said about a storage besides its place, and how it tells the time and waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from chunkstore.errors import InvalidArgument
from chunkstore.storage.ssh_options import SshOptions

AddressingStyle: TypeAlias = Literal["auto", "path", "virtual"]
LockMode: TypeAlias = Literal["COMPLIANCE", "GOVERNANCE"]

ADDRESSING_STYLES: Final[tuple[AddressingStyle, ...]] = ("auto", "path", "virtual")
LOCK_MODES: Final[tuple[LockMode, ...]] = ("COMPLIANCE", "GOVERNANCE")
CONNECTIONS: Final = 4
MOST_CONNECTIONS: Final = 64
RETRY_DEADLINE: Final = 300.0


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """All options of storages; InvalidArgument for values that make no sense.

    `limit_upload`, `limit_download`: bytes a second, for all connections together; None: no limit.
    `connections`: how many requests may be under way at once.
    `endpoint_url` to `lock_mode` are for S3 alone; None leaves the choice to the environment and to
    the configuration of the AWS tools. `verify_tls=False` accepts any certificate. `retention_days`: how long
    what is written is locked against deletion, in `lock_mode`. `retry_deadline`: seconds after which a request that keeps failing
    is given up. `ssh`: whose keys and known hosts SFTP uses, and is only needed there.
    """

    limit_upload: int | None = None
    limit_download: int | None = None
    connections: int = CONNECTIONS
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    ca_bundle: str | None = None
    verify_tls: bool = True
    addressing_style: AddressingStyle = "auto"
    storage_class: str | None = None
    retention_days: int | None = None
    lock_mode: LockMode = LOCK_MODES[0]
    retry_deadline: float = RETRY_DEADLINE
    ssh: SshOptions | None = None

    def __post_init__(self) -> None:
        for value, what in ((self.limit_upload, "upload"), (self.limit_download, "download")):
            if value is not None and value < 1:
                raise InvalidArgument(f"a limit of {value} bytes a second would {what} nothing, ever")
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise InvalidArgument(f"{self.connections} connections; 1 to {MOST_CONNECTIONS} are possible")
        if self.addressing_style not in ADDRESSING_STYLES:
            raise InvalidArgument(f"not an addressing style: {self.addressing_style!r}; {', '.join(ADDRESSING_STYLES)}")
        if self.retention_days is not None and self.retention_days < 1:
            raise InvalidArgument("a retention of less than a day locks nothing")
        if self.lock_mode not in LOCK_MODES:
            raise InvalidArgument(f"not a mode of object lock: {self.lock_mode!r}; {', '.join(LOCK_MODES)}")


NO_OPTIONS: Final = StorageOptions()


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a storage that fails or is slowed down tells the time and waits.

    `clock`: seconds since any moment, never going back. `sleep`: waits so many seconds. `random`: evenly between 0
    and 1. `stop`: whether the run was asked to end; who waits looks at it every `slice_seconds` or more often, and
    raises Interrupted. `now`: seconds since 1970, for those who need a date: locks against deletion. `tell`: is told
    once that something is tried again, when a trouble begins.
    """

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]
    stop: Callable[[], bool] = lambda: False
    slice_seconds: float = 0.2
    now: Callable[[], float] | None = None
    tell: Callable[[str], None] = lambda message: None
