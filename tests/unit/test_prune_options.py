"""What is written as options of `prune` and what it means."""

from __future__ import annotations

import click
import pytest
from chunkstore_cli.prune_options import prune_options
from click.testing import CliRunner

from chunkstore.operations.prune.values import PruneOptions

_S = 10**9


def parsed(*arguments: str) -> PruneOptions | str:
    """What the command would get, or what is complained about."""
    got: list[PruneOptions] = []

    @click.command()
    @prune_options
    def command(pruning: PruneOptions) -> None:
        got.append(pruning)

    result = CliRunner().invoke(command, arguments)
    return got[0] if result.exit_code == 0 else result.output


def test_without_options_the_defaults_of_the_library_count() -> None:
    assert parsed() == PruneOptions()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("--max-unused", "12.5%"), PruneOptions(max_unused=0.125)),
        (("--max-unused", "0"), PruneOptions(max_unused=0.0, max_unused_size=0)),
        (("--max-unused", "10G"), PruneOptions(max_unused=0.0, max_unused_size=10 << 30)),
        (("--max-repack", "3M"), PruneOptions(max_repack=3 << 20)),
        (("--stale-after", "2h"), PruneOptions(stale_after_ns=7200 * _S)),
        (("--wait", "90s"), PruneOptions(patience_ns=90 * _S)),
    ],
)
def test_what_is_written_is_what_is_meant(arguments: tuple[str, ...], meant: PruneOptions) -> None:
    assert parsed(*arguments) == meant


@pytest.mark.parametrize(
    ("option", "value"),
    [("--max-unused", "half"), ("--max-repack", "5%"), ("--stale-after", "soon"), ("--wait", "-1h")],
)
def test_anything_else_is_refused(option: str, value: str) -> None:
    said = parsed(option, value)
    assert isinstance(said, str)
    assert option in said
