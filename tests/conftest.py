"""What several test modules start from. Each xdist worker makes its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Machine
from tests.gnupg_home import GnupgHome, gnupg_home
from tests.s3_server import Rclone, SeaweedFS, rclone, seaweedfs
from tests.ssh_server import SshServer, ssh_server
from tests.storages import Fresh, fresh_places, local_places, s3_places, sftp_places


def pytest_configure() -> None:
    """Programs that tests start can be interrupted, also where pytest was started in the background, without SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="with what takes minutes: every fault, weaker servers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `exhaustive` is left out, and counted as such, unless it is asked for or named by its path."""
    if config.getoption("--exhaustive") or any("::" in argument or ".py" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]


SMALL_CHUNKS = "pyfastcdc:1K,4K,16K"


@dataclass(frozen=True)
class Keys:
    """`private` holds a private key, `public` its public half alone; `asked` exists once the latter's pinentry ran."""

    private: GnupgHome
    public: GnupgHome
    fingerprint: str
    mail: str
    asked: Path


@pytest.fixture(scope="session")
def keys() -> Iterator[Keys]:
    mail = "owner@example.org"
    with gnupg_home() as private, gnupg_home() as public:
        fingerprint = private.make_key(f"The Owner <{mail}>")
        public.gpg("--import", data=private.public_key(fingerprint))
        yield Keys(private, public, fingerprint, mail, public.pinentry(None))


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedFS]:
    """A real S3 server that does all that is needed; its bucket is shared: use a prefix, or make a bucket."""
    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def weak_s3() -> Iterator[Rclone]:
    """A real S3 server without conditional writes, rights, versions and locks."""
    with rclone() as server:
        yield server


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A real SFTP server of whoever runs the tests; for tests that leave it running."""
    with ssh_server(tmp_path_factory.mktemp("sshd") / "server") as server:
        yield server


@pytest.fixture(name="local_places", scope="session")
def _local_places() -> Iterator[Fresh]:
    with local_places() as fresh:
        yield fresh


@pytest.fixture(name="s3_places", scope="session")
def _s3_places(seaweed: SeaweedFS) -> Fresh:
    return s3_places(seaweed)


@pytest.fixture(name="sftp_places", scope="session")
def _sftp_places(sshd: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    with sftp_places(sshd, tmp_path_factory.mktemp("sftp") / "home") as fresh:
        yield fresh


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Fresh:
    """Gives places for storages where nothing is yet: in memory, or of the kinds that the test is marked with."""
    return fresh_places(getattr(request, "param", "memory"), request)


@pytest.fixture(scope="session")
def initialised(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A client with an empty repository of small chunks and packs; to be copied, not changed."""
    machine = Machine(tmp_path_factory.mktemp("initialised"), keys.public)
    machine.done("init", "--encrypt-to", keys.mail, "--chunker", SMALL_CHUNKS, "--pack-size", "1M")
    return machine


@pytest.fixture
def machine(initialised: Machine, tmp_path: Path) -> Machine:
    """A client of an empty repository; its gpg homedir holds public keys only."""
    return initialised.copy_to(tmp_path / "machine")


@pytest.fixture
def owner(machine: Machine, keys: Keys) -> Machine:
    """The same machine for somebody who has the private key."""
    return Machine(machine.root, keys.private)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A few files."""
    from tests.trees import age, noise, plant, prose

    root = tmp_path / "source"
    plant(
        root,
        {
            b"notes.txt": prose(20_000),
            b"image": noise(120_000),
            b"sub": {b"small": b"small", b"empty": b"", b"link": "../notes.txt", b"deeper": {b"file": prose(9_000, 2)}},
            b"nothing": {},
        },
    )
    age(root)
    return root
