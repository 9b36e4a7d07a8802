"""What the library may not fetch itself: environment, time, host, user, terminal, and the repository that is meant."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import resource
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from chunkstore import __version__
from chunkstore.errors import GpgFailed, NoUsableKey
from chunkstore.format.records import SignedRecord
from chunkstore.ids import RepositoryId
from chunkstore.operations.signatures import require_signature
from chunkstore.repository.places import Places
from chunkstore.repository.repository import Repository, Surroundings, open_repository
from chunkstore.storage import Storage, Waiting, open_storage
from chunkstore.storage.location import is_s3
from chunkstore.storage.ssh_options import SshOptions

from .failures import say
from .options import settings
from .storage_options import options_for

if TYPE_CHECKING:
    from chunkstore.keys.gpg import UserKeyring

# Set when this process was asked to end, however it takes that: whoever waits for the network looks at it.
_ending = threading.Event()


def places() -> Places:
    """The directories of the XDG base directory specification."""
    home = Path.home()
    state = os.environ.get("XDG_STATE_HOME") or home / ".local" / "state"
    cache = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
    return Places(Path(state).absolute() / "chunkstore", Path(cache).absolute() / "chunkstore")


class Stop:
    """Turns the first Ctrl-C or SIGTERM into a request, the second Ctrl-C into an end."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        _ending.set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While this lasts, signals only ask."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def surroundings(stop: Stop | None = None, host: str | None = None) -> Surroundings:
    """Everything about this run that is not an argument of the command."""
    _protect()
    return Surroundings(
        clock=time.time_ns,
        random_bytes=secrets.token_bytes,
        places=places(),
        host=host or socket.gethostname(),
        user=_user(),
        program=f"chunkstore {__version__}",
        workers=max(os.cpu_count() or 1, 2),
        **({"stop": stop} if stop else {}),
    )


def _protect() -> None:
    """No core dumps while keys are in memory; SIGTERM ends like Ctrl-C, so that clean-up runs."""
    _ending.clear()
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError):

        def end(number: int, frame: FrameType | None) -> None:
            _ending.set()
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, end)
        # A shell ignores it for what it starts in the background; that stays so.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, end)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def storage_location() -> str:
    """The place that -r or CHUNKSTORE_REPOSITORY names."""
    location = settings().repository or os.environ.get("CHUNKSTORE_REPOSITORY")
    if not location:
        raise click.UsageError(
            "Which repository? Say it with -r PATH, or set CHUNKSTORE_REPOSITORY. "
            "A new one is made by `chunkstore -r PATH init --encrypt-to KEY`."
        )
    return location


def storage() -> Storage:
    """The storage that is meant. A place where nothing is counts as empty: then there is no repository."""
    return storage_at(storage_location(), settings().storage)


def storage_at(location: str, options_said: Mapping[str, object]) -> Storage:
    """The storage at this place, with what was said about it."""
    said = dict(options_said)
    s3 = is_s3(location)
    if s3 and "region" not in said and (region := os.environ.get("AWS_REGION")):
        said["region"] = region  # the other SDKs and tools of AWS know it, boto3 does not
    waiting = Waiting(
        time.monotonic,
        time.sleep,
        random.random,
        _ending.is_set,
        now=time.time,
        tell=_tell_nobody if settings().quiet else say,
    )
    options = replace(options_for(said, s3), ssh=_ssh())
    return open_storage(location, create=True, options=options, waiting=waiting)


def _ssh() -> SshOptions:
    """The user's own SSH."""
    return SshOptions(
        str(Path.home()), _user(), use_agent=bool(os.environ.get("SSH_AUTH_SOCK")), start_proxy=_start_proxy
    )


def _start_proxy(command: str) -> socket.socket:
    from .ssh_proxy import start_proxy

    return start_proxy(command)


def _tell_nobody(message: str) -> None:
    """With --quiet only what goes wrong in the end is said."""


def repository(operation: str, around: Surroundings) -> Repository:
    """The repository that is meant, opened for one class of operations."""
    return open_repository(storage(), around.places, operation)


def interactive() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def keyring() -> UserKeyring:
    """The user's own gpg."""
    from chunkstore.keys.gpg import UserKeyring

    terminal = None
    with contextlib.suppress(OSError):
        terminal = os.ttyname(0) if interactive() else None
    return UserKeyring(os.environ.get("GNUPGHOME"), terminal=terminal)


def unseal(message: bytes) -> bytes:
    """Open an OpenPGP message with the user's private key. A gpg that is missing or fails is no usable key either."""
    try:
        return keyring().unseal(message, interactive=interactive())
    except GpgFailed as e:
        raise NoUsableKey(str(e)) from e


def signing(key: str | None) -> Callable[[bytes], bytes] | None:
    """What signs a record with the private key that `key` names; None where nothing is to be signed."""
    if key is None:
        return None
    ring = keyring()
    signer = ring.resolve_signer(key)
    return lambda data: ring.sign(data, signer.fingerprint, interactive=interactive())


def check_signature(signed: SignedRecord, repository_id: RepositoryId, keys: Sequence[str]) -> None:
    """`BadSignature` unless one of `keys` signed the snapshot; nothing to check without keys."""
    if not keys:
        return
    from chunkstore.keys import gpg

    ring = keyring()
    signers = [ring.resolve_verifier(key) for key in keys]
    with tempfile.TemporaryDirectory(prefix="chunkstore-") as scratch:
        require_signature(
            signed, repository_id, lambda data, signature: gpg.verify(data, signature, signers, scratch=scratch)
        )
