"""Arguments that name snapshots, where one of them may be left out."""

from __future__ import annotations

import click
import pytest
from chunkstore_cli.arguments import Chosen, parse_chosen
from chunkstore_cli.opened import snapshot_name
from chunkstore_cli.selecting import snapshot_and_target

from chunkstore.operations.snapshot_choice import EVERYTHING, SnapshotFilter

OF_A_HOST = SnapshotFilter(hosts=("a",))
BEFORE_1970 = SnapshotFilter(not_after=0)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("latest", Chosen("latest", None)),
        ("latest~2:/etc//x/../y/", Chosen("latest~2", b"/etc/y")),
        (":/etc", Chosen("", b"/etc")),
        ("", Chosen("", None)),
        ("latest:/", Chosen("latest", b"/")),
        ("latest:/a:b", Chosen("latest", b"/a:b")),
        ("latest:/\udcff", Chosen("latest", b"/\xff")),
    ],
)
def test_what_an_argument_means(text: str, chosen: Chosen) -> None:
    assert parse_chosen(text) == chosen


def test_a_path_must_be_absolute() -> None:
    with pytest.raises(click.BadParameter, match="absolute"):
        parse_chosen("latest:etc")


@pytest.mark.parametrize("selection", [OF_A_HOST, BEFORE_1970])
def test_what_is_left_out_is_latest_where_options_choose(selection: SnapshotFilter) -> None:
    assert snapshot_name(Chosen("", b"/etc"), selection) == "latest"
    assert snapshot_name(Chosen("latest~2", None), selection) == "latest~2"
    with pytest.raises(click.UsageError, match="Which snapshot"):
        snapshot_name(Chosen("", b"/etc"), EVERYTHING)


@pytest.mark.parametrize(
    ("words", "selection", "meant"),
    [
        (("latest", "out"), EVERYTHING, (Chosen("latest", None), b"out")),
        ((b"latest", b"\xff"), EVERYTHING, (Chosen("latest", None), b"\xff")),
        (("latest", "latest"), OF_A_HOST, (Chosen("latest", None), b"latest")),
        ((":/etc", "a:b"), OF_A_HOST, (Chosen("", b"/etc"), b"a:b")),
        (("out",), OF_A_HOST, (Chosen("", None), b"out")),
        (("./latest",), BEFORE_1970, (Chosen("", None), b"./latest")),
        (("/mnt/a:b",), OF_A_HOST, (Chosen("", None), b"/mnt/a:b")),
    ],
)
def test_a_snapshot_and_a_target(
    words: tuple[str | bytes, ...], selection: SnapshotFilter, meant: tuple[Chosen, bytes]
) -> None:
    assert snapshot_and_target(words, selection) == meant


@pytest.mark.parametrize(
    ("words", "selection"),
    [
        (("latest",), EVERYTHING),
        (("out",), EVERYTHING),
        (("latest",), OF_A_HOST),
        (("latest~1",), OF_A_HOST),
        (("beef",), OF_A_HOST),
        ((":/etc",), OF_A_HOST),
        (("latest:/etc",), OF_A_HOST),
        (("latest", "out", "more"), OF_A_HOST),
    ],
)
def test_a_snapshot_is_not_taken_for_a_target(words: tuple[str, ...], selection: SnapshotFilter) -> None:
    with pytest.raises(click.UsageError, match=r"TARGET|extra"):
        snapshot_and_target(words, selection)
