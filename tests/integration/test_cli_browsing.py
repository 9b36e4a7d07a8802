"""ls, find, diff and history as people run them."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from pathlib import Path

import pytest

from tests.command import Machine
from tests.trees import IS_ROOT

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may")


@pytest.fixture
def three(machine: Machine, source: Path) -> list[str]:
    """Three snapshots: a file changes and one gets another mode; then a folder goes."""
    ids = [machine.snapshot(source)]
    (source / "notes.txt").write_bytes(b"shorter")
    (source / "image").chmod(0o600)
    (source / "new file").write_bytes(b"new")
    ids.append(machine.snapshot(source))
    (source / "sub" / "deeper" / "file").unlink()
    (source / "sub" / "deeper").rmdir()
    ids.append(machine.snapshot(source))
    return ids


def lines(text: str, source: Path) -> list[str]:
    """The lines of changes, without the path of the source."""
    found = [line for line in text.splitlines() if re.match(r"[-+MUT] ", line)]
    return [line.replace(f"{source}", "") for line in found]


# -- ls


@needs_root
def test_a_long_list_shows_names_marks_targets_and_numbers(machine: Machine, owner: Machine, source: Path) -> None:
    os.setxattr(source / "image", b"user.note", b"x")
    os.mknod(source / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.chown(source / "notes.txt", 54321, 54322)
    machine.snapshot(source)
    shown = {
        line.split(str(source))[1].split(" ")[0]: line for line in owner.done("ls", "-lR", "latest").text.splitlines()
    }
    assert shown["/image"].startswith("-rw-r--r--@ root     root            120000 ")
    assert shown["/device"].startswith("crw-------  root     root              1, 3 ")
    assert shown["/notes.txt"].startswith("-rw-r--r--  54321    54322            20000 ")
    assert shown["/sub/link"].endswith("/sub/link -> ../notes.txt")
    assert " 117.2 KiB " in owner.done("ls", "-l", "--human", "latest").text


def test_json_has_all_that_is_known_of_an_entry(machine: Machine, owner: Machine, source: Path) -> None:
    os.setxattr(source / "image", b"user.note", b"\xff\0x")
    os.link(source / "sub" / "small", source / "sub" / "other name")
    with (source / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 5000)
        file.truncate(4 << 20)
    machine.snapshot(source)
    entries = {
        e["path"].removeprefix(f"{source}"): e for e in owner.done("ls", "-R", "latest", "--json").json["entries"]
    }
    assert base64.b64decode(entries["/image"]["xattrs"]["user.note"]) == b"\xff\0x"
    assert entries["/sub/small"]["link"] == entries["/sub/other name"]["link"] is not None
    assert entries["/image"]["link"] is None
    assert entries["/sub/link"]["target"] == "../notes.txt"
    assert entries["/sparse"]["size"] == 4 << 20
    if entries["/sparse"]["extents"] is not None:  # a file system that knows holes
        assert entries["/sparse"]["extents"] == 1
        assert entries["/sparse"]["content_size"] < 1 << 20
    assert entries["/image"]["content_size"] == entries["/image"]["size"] == 120_000
    assert entries["/image"]["chunks"] > 1
    assert entries["/sub"]["mtime_ns"] == (source / "sub").stat().st_mtime_ns


# -- find


def test_find_shows_each_version_with_the_newest_snapshot_that_has_it(
    owner: Machine, three: list[str], source: Path
) -> None:
    found = owner.done("find", "notes.txt", "file").text.splitlines()
    assert [line.split()[1] for line in found if line.startswith("Snapshot ")] == [three[n][:8] for n in (2, 1, 0)]
    assert [line.split()[-1] for line in found if line.startswith("-")] == [
        f"{source}/notes.txt",
        f"{source}/sub/deeper/file",
        f"{source}/notes.txt",
    ]
    assert found[-1] == "3 found in 3 of 3 snapshots."
    matches = owner.done("find", "--json", "notes.txt").json
    assert [each["snapshot"] for each in matches["matches"]] == [three[2], three[0]]
    assert matches["searched"] == 3
    assert len(owner.done("find", "--json", "--all", "notes.txt").json["matches"]) == 3


def test_find_is_narrowed_by_options(owner: Machine, three: list[str], source: Path) -> None:
    def paths(*arguments: str) -> list[str]:
        matches = owner.done("find", "--json", "-s", "latest", *arguments).json["matches"]
        return [each["path"].removeprefix(f"{source}/") for each in matches]

    assert paths("*", "--type", "l") == ["sub/link"]
    assert paths("SMALL", "-i") == ["sub/small"]
    assert paths("SMALL") == []
    assert paths("*", "--larger", "100K") == ["image"]
    assert paths("*", "--newer", "1h", "-t", "f") == ["new file", "notes.txt"]
    assert paths(f"{source}/s*/s*") == ["sub/small"]
    assert paths("sub/*", "-t", "f,d") == ["sub/empty", "sub/small"]
    assert owner.run("find", "*", "-t", "z").code == 2
    assert owner.run("find", "*", "--larger", "much").code == 2
    assert owner.run("find", "").code == 2
    assert owner.run("find").code == 2


def test_nothing_found_is_no_error(owner: Machine, three: list[str]) -> None:
    assert owner.done("find", "nothing like that").text == "Nothing found in 3 snapshots.\n"
    assert owner.done("find", "-q", "nothing like that").text == ""
    assert owner.done("find", "*", "--host", "nobody").text == "Nothing found in 0 snapshots.\n"


# -- diff


def test_diff_of_two_snapshots(owner: Machine, three: list[str], source: Path) -> None:
    first = owner.done("diff", "-v", three[0], "latest~1").text
    assert lines(first, source) == [
        "U /  (mtime)",
        "U /image  (mode)",
        "+ /new file",
        "M /notes.txt  (19.5 KiB -> 7 B, mtime)",
    ]
    second = owner.done("diff", "latest~1", "latest")
    assert lines(second.text, source) == ["U /sub/", "- /sub/deeper/", "- /sub/deeper/file"]
    assert owner.done("diff", "--no-metadata", "latest~1", "latest").text.splitlines()[-1].startswith("Removed ")
    assert owner.done("diff", "latest", three[2], "--exit-code").text == "No differences.\n"
    assert owner.run("diff", "latest~1", "latest", "--exit-code").code == 4


def test_diff_in_json(owner: Machine, three: list[str], source: Path) -> None:
    found = owner.done("diff", "--json", three[0], three[1]).json
    assert (found["before"]["id"], found["after"]["id"]) == (three[0], three[1])
    changes = {each["path"].removeprefix(f"{source}"): each for each in found["differences"]}
    assert changes["/notes.txt"] == {
        "path": f"{source}/notes.txt",
        "change": "content",
        "fields": ["mtime"],
        "type_before": "file",
        "type_after": "file",
        "size_before": 20_000,
        "size_after": 7,
    }
    assert found["totals"] == {
        "added": 1,
        "removed": 0,
        "content": 1,
        "metadata": 2,
        "kind": 0,
        "bytes_added": 3,
        "bytes_removed": 0,
        "bytes_changed_before": 20_000,
        "bytes_changed_after": 7,
    }


def test_diff_of_parts(owner: Machine, three: list[str], source: Path) -> None:
    assert lines(owner.done("diff", f"latest~1:{source}/sub", "latest").text, source) == [
        "U /sub/",
        "- /sub/deeper/",
        "- /sub/deeper/file",
    ]
    assert lines(owner.done("diff", f"latest:{source}/sub", f"latest:{source}/nothing").text, source)[:3] == [
        "U ./",
        "- empty",
        "- link",
    ]
    assert owner.run("diff", "latest:/not/there", "latest").code == 1
    excluded = owner.done("diff", "latest~1", "latest", "--exclude", "deeper")
    assert lines(excluded.text, source) == ["U /sub/"]


def test_diff_with_the_files_on_disk(owner: Machine, three: list[str], source: Path, tmp_path: Path) -> None:
    assert owner.done("diff", "latest").text == "No differences.\n"
    (source / "image").write_bytes(b"other")
    (source / "sub" / "small").unlink()
    (source / "sub" / "added").write_bytes(b"")
    found = owner.run("diff", "latest", "--exit-code")
    assert (found.code, found.stderr) == (4, "")
    assert lines(found.text, source) == ["M /image", "U /sub/", "+ /sub/added", "- /sub/small"]
    assert owner.done("diff", "--json", "latest").json["after"] is None
    part = owner.done("diff", f"latest:{source}/sub", "--exclude", "added", "--exclude", "small", "--no-metadata")
    assert part.text == "No differences.\n"
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "small").write_bytes(b"small")
    compared = owner.done("diff", "--no-metadata", f"latest:{source}/sub", copy)
    assert lines(compared.text, source) == ["- empty", "- link"]
    assert lines(owner.done("diff", "--no-metadata", f"latest:{source}/sub", "./copy", cwd=tmp_path).text, source) == [
        "- empty",
        "- link",
    ]


def test_diff_leaves_out_what_a_snapshot_leaves_out(machine: Machine, owner: Machine, source: Path) -> None:
    (source / ".chunkstoreignore").write_bytes(b"*.o\n")
    (source / "x.o").write_bytes(b"")
    os.utime(source, ns=(0, 5))
    machine.snapshot(source)
    assert owner.done("diff", "latest").text == "No differences.\n"
    assert lines(owner.done("diff", "latest", "--no-ignore-files").text, source) == ["+ /x.o"]


def test_own_files_of_chunkstore_are_not_new(machine: Machine, owner: Machine) -> None:
    machine.snapshot(machine.root)
    found = owner.done("diff", "latest", "--no-metadata").text
    assert found == "No differences.\n"


def test_diff_says_what_it_was_not_meant_for(owner: Machine, three: list[str]) -> None:
    assert owner.run("diff").code == 2
    assert owner.run("diff", "latest~1", "latest", "--exclude-caches").code == 2
    assert owner.run("diff", "latest", "nosuchid").code == 1


# -- history


def test_history_lists_versions(owner: Machine, three: list[str], source: Path) -> None:
    shown = owner.done("history", source / "notes.txt").text.splitlines()
    assert [line.split()[0] for line in shown[2:]] == [three[0][:8], three[1][:8]]
    assert shown[3].endswith("  19.5 KiB -> 7 B, mtime")
    versions = owner.done("history", "sub/deeper/file", "--json", cwd=source).json
    assert versions["path"] == f"{source}/sub/deeper/file"
    assert [(each["change"], each["snapshots"]) for each in versions["versions"]] == [("added", 2), ("removed", 1)]
    assert versions["versions"][0]["entry"]["size"] == 9000
    assert versions["versions"][1]["entry"] is None
    missing = owner.run("history", "/not/there")
    assert (missing.code, missing.stdout) == (1, b"")
    assert "/not/there is in no snapshot" in missing.stderr


def test_a_damaged_snapshot_is_reported_and_the_others_are_searched(
    machine: Machine, owner: Machine, source: Path
) -> None:
    machine.snapshot(source)
    before = machine.names("packs/")
    (source / "notes.txt").write_bytes(b"second")
    second = machine.snapshot(source)
    for name in machine.names("packs/") - before:
        (machine.repository / name).unlink()
    for command in (("find", "notes.txt"), ("history", f"{source}/notes.txt")):
        found = owner.run(*command)
        assert found.code == 1
        assert f"snapshot {second[:8]} can not be read" in found.stderr
        assert "20000" in found.text


# -- all of them


@pytest.mark.parametrize("command", [("ls", "-lR", "latest"), ("find", "*"), ("diff", "latest~1", "latest")])
def test_odd_names_are_shown_safely_and_kept_exactly_in_json(
    machine: Machine, owner: Machine, source: Path, command: tuple[str, ...]
) -> None:
    machine.snapshot(source)
    name = b"\xff\x1b[31m\n"
    with open(os.path.join(os.fsencode(source), name), "wb"):
        pass
    machine.snapshot(source)
    shown = owner.done(*command).text
    assert "\\xff\\x1b[31m\\n" in shown
    assert "\x1b" not in shown
    values = json.loads(owner.done(*command, "--json").stdout)
    listed = next(value for value in values.values() if isinstance(value, list) and value)
    assert os.fsencode(source) + b"/" + name in {os.fsencode(each["path"]) for each in listed}


@pytest.mark.parametrize("command", [("find", "*"), ("diff", "latest"), ("history", "/x"), ("ls", "latest")])
def test_they_need_the_private_key(machine: Machine, three: list[str], command: tuple[str, ...]) -> None:
    assert machine.run(*command).code == 12


def test_a_reader_that_has_seen_enough_ends_the_command(owner: Machine, three: list[str]) -> None:
    with owner.start("find", "--all", "*") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(60) in (0, 1)
        assert b"Traceback" not in process.stderr.read()
