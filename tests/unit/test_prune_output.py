"""What `prune` says to people of what it did, and to machines of the same."""

from __future__ import annotations

import re

import pytest
from chunkstore_cli.prune_output import result_json, show_result, unfinished

from chunkstore.ids import SnapshotId
from chunkstore.operations.prune.values import LivingSession, PruneResult, Share

_DAY_S = 86400.0


def test_what_is_locked_is_told_with_the_times_at_which_it_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    done = PruneResult(number=3, deleted=Share(2, 4096), fenced=1)
    done.locked = [("packs/ab/ab12", 100.5 * _DAY_S), ("packs/cd/cd34", 300.5 * _DAY_S)]
    show_result(done)
    first, ended, locked = capsys.readouterr().out.splitlines()
    assert first == "Prune 3: deleted 2 packs (4.0 KiB), wrote 0 packs (0 B)."
    assert ended == "Runs without a sign of life that were ended: 1."
    assert "2 objects" in locked
    assert re.findall(r"1970-\d\d-\d\d", locked) == ["1970-04-11", "1970-10-28"]
    assert [each["until"] for each in result_json(done)["locked"]] == ["1970-04-11T12:00:00Z", "1970-10-28T12:00:00Z"]


def test_whoever_is_waited_for_can_not_talk_to_the_terminal() -> None:
    session = LivingSession(SnapshotId("5" * 32), "evil\x1b[2J\n", 0, None)
    said = unfinished(PruneResult(number=1, waiting=(session,)))
    assert "\x1b" not in said
    assert "\n" not in said
