"""The options about storages: before and after the command's name, and what is refused."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from chunkstore_cli import environment
from chunkstore_cli.app import COMMANDS, chunkstore, run
from chunkstore_cli.failures import USAGE
from chunkstore_cli.options import Settings, common_options, settings
from chunkstore_cli.storage_options import options_for

from chunkstore.storage import LimitedStorage, StorageOptions
from chunkstore.storage.options import ADDRESSING_STYLES, CONNECTIONS, LOCK_MODES
from chunkstore.storage.protocol import DEFAULT_CONNECTIONS, connections


def said(*arguments: str) -> StorageOptions:
    """What a command line says, for a repository in S3."""
    found: list[StorageOptions] = []

    @click.group()
    @common_options
    def group() -> None:
        pass

    @group.command()
    @common_options
    def command() -> None:
        found.append(options_for(settings().storage, s3=True))

    group.main(list(arguments), standalone_mode=False)
    return found[0]


S3 = (
    "--endpoint-url=https://example.org:9000",
    "--region=eu-central-1",
    "--profile=backup",
    "--ca-bundle=ca.pem",
    "--no-verify-ssl",
    "--addressing-style=virtual",
    "--storage-class=STANDARD_IA",
    "--retention=30d",
    "--lock-mode=governance",
)
LIMITS = ("--limit-upload=10M", "--limit-download=1.5K", "--connections=9")
MEANT = StorageOptions(
    limit_upload=10 << 20,
    limit_download=1536,
    connections=9,
    endpoint_url="https://example.org:9000",
    region="eu-central-1",
    profile="backup",
    ca_bundle="ca.pem",
    verify_tls=False,
    addressing_style="virtual",
    storage_class="STANDARD_IA",
    retention_days=30,
    lock_mode="GOVERNANCE",
)


def test_options_mean_the_same_before_and_after_the_command() -> None:
    assert said(*S3, *LIMITS, "command") == MEANT
    assert said("command", *S3, *LIMITS) == MEANT
    assert said(*S3, "command", *LIMITS) == MEANT
    assert said("command") == StorageOptions()


def test_the_last_one_counts() -> None:
    assert said("--region=a", "--limit-upload=1M", "command", "--region=b").region == "b"
    assert said("--region=a", "--limit-upload=1M", "command", "--region=b").limit_upload == 1 << 20


def test_a_begun_day_of_retention_counts() -> None:
    assert said("command", "--retention=36h").retention_days == 2


@pytest.mark.parametrize("option", S3)
def test_options_for_s3_are_refused_elsewhere(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", str(tmp_path), "snapshots", option]) == USAGE
    error = capsys.readouterr().err
    assert f"{option.partition('=')[0]}: only for repositories at s3://bucket/prefix" in error


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--limit-upload=fast", "not a size"),
        ("--limit-upload=10MB", "not a size"),
        ("--limit-upload=0", "0 bytes a second"),
        ("--limit-download=0", "0 bytes a second"),
        ("--connections=0", "1 to 64"),
        ("--connections=many", "not a valid integer"),
        ("--addressing-style=x", "'auto', 'path', 'virtual'"),
        ("--retention=soon", "not an age"),
        ("--retention=0d", "less than a day"),
    ],
)
def test_values_that_make_no_sense(option: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", "s3://bucket/prefix", "snapshots", option]) == USAGE
    assert reason in capsys.readouterr().err


def test_the_region_is_also_found_under_the_name_that_other_tools_know(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[StorageOptions] = []
    monkeypatch.setenv("AWS_REGION", "eu-south-1")
    monkeypatch.setattr(environment, "open_storage", lambda url, *, create, options, waiting: seen.append(options))
    for location, storage in (("s3://bucket", {}), ("s3://bucket", {"region": "x"}), (str(tmp_path), {})):
        with click.Context(chunkstore, obj=Settings(repository=location, storage=dict(storage))):
            environment.storage()
    assert [options.region for options in seen] == ["eu-south-1", "x", None]


@pytest.mark.parametrize("place", ["/a/directory", "s3://bucket/prefix", "sftp://somebody@localhost/path"])
def test_limits_and_connections_are_for_every_place(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for each in ("limit_upload", "limit_download"):
        with click.Context(chunkstore, obj=Settings(repository=place, storage={each: 1, "connections": 7})):
            storage = environment.storage()
        assert isinstance(storage, LimitedStorage)
        assert connections(storage) == (7 if "://" in place else DEFAULT_CONNECTIONS)


def test_the_program_shows_them_and_its_commands_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    assert "--limit-upload" in capsys.readouterr().out
    for name in COMMANDS:
        run([name, "--help"])
        output = capsys.readouterr().out
        assert "--quiet" in output
        assert "--limit-upload" not in output
        assert "--no-verify-ssl" not in output


def test_the_help_says_what_the_library_does() -> None:
    parameters = {each.name: each for each in chunkstore.params}
    assert f"{CONNECTIONS} if not said" in str(parameters["connections"].help)  # type: ignore[attr-defined]
    assert tuple(parameters["addressing_style"].type.choices) == ADDRESSING_STYLES  # type: ignore[attr-defined]
    assert tuple(parameters["lock_mode"].type.choices) == LOCK_MODES  # type: ignore[attr-defined]


def test_a_password_in_a_url_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", "s3://key:hunter2@bucket/x", "snapshots"]) == USAGE
    assert "hunter2" not in capsys.readouterr().err
