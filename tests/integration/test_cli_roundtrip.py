"""What goes in comes out: names, kinds, modes, owners, times and every byte, through the real command line."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command import Machine
from tests.conftest import Keys
from tests.trees import Node, Seen, age, below, edited, look, noise, plant, prose, varied

FRAME = 1 << 20


@pytest.fixture(scope="module")
def both(initialised: Machine, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two snapshots of the tree with one of everything, and what it looked like each time."""
    root = tmp_path_factory.mktemp("both")
    machine = initialised.copy_to(root / "machine")
    source = root / "source"
    varied(source)
    first = SimpleNamespace(seen=look(source), id=machine.snapshot(source))
    edited(source)
    second = SimpleNamespace(seen=look(source), id=machine.snapshot(source))
    assert first.seen != second.seen
    owner = Machine(machine.root, keys.private)
    return SimpleNamespace(machine=owner, source=source, first=first, second=second)


@pytest.mark.parametrize("which", ["first", "second"])
def test_both_snapshots_restore_as_they_were(both: SimpleNamespace, tmp_path: Path, which: str) -> None:
    snapshot = getattr(both, which)
    assert look(both.machine.restore(snapshot.id, tmp_path / "out")) == snapshot.seen


def test_packs_are_of_the_size_that_was_asked_for(both: SimpleNamespace) -> None:
    sizes = [len(data) for data in both.machine.objects("packs/").values()]
    assert len(sizes) > 5
    assert max(sizes) < 3 * FRAME


def test_ls_lists_exactly_the_tree(both: SimpleNamespace) -> None:
    listed = both.machine.done("ls", "-R", "--json", both.second.id).json
    assert listed["snapshot"]["id"] == both.second.id
    found = {os.path.relpath(os.fsencode(each["path"]), os.fsencode(both.source)): each for each in listed["entries"]}
    expected = {path: seen for path, seen in both.second.seen.items() if path}
    assert found.keys() == expected.keys()
    for path, seen in expected.items():
        assert _described(found[path]) == seen._replace(content=seen.content if _is_link(seen) else b""), path


def _is_link(seen: Seen) -> bool:
    return stat.S_ISLNK(seen.kind)


def _described(entry: dict[str, object]) -> Seen:
    kind = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "link": stat.S_IFLNK}[str(entry["type"])]
    link = kind == stat.S_IFLNK
    target = os.fsencode(str(entry["target"])) if link else b""
    mode = 0 if link else int(str(entry["mode"]), 8)
    size = int(str(entry["size"])) if kind == stat.S_IFREG else 0
    owner = (int(str(entry["uid"])), int(str(entry["gid"])))
    return Seen(kind, mode, owner, int(str(entry["mtime_ns"])), size, target)


def test_ls_of_a_directory_lists_its_children(both: SimpleNamespace) -> None:
    listed = both.machine.done("ls", f"{both.first.id[:8]}:{both.source}/text").text
    assert sorted(listed.splitlines()) == sorted(f"{both.source}/text/{number}.txt" for number in range(12))
    long = both.machine.done("ls", "-l", f"{both.first.id[:8]}:{both.source}/links").text
    assert "lrwxrwxrwx" in long
    assert f"{both.source}/links/absolute -> /usr/bin/env\n" in long


@pytest.mark.parametrize(
    "name", [b"sizes/3000001", b"sizes/0000000", b"sizes/0016385", b"text/1.txt", b"names/\xff\xfe", b"names/new\nline"]
)
def test_cat_writes_the_content(both: SimpleNamespace, name: bytes) -> None:
    path = os.path.join(os.fsencode(both.source), name)
    with open(path, "rb") as file:
        assert both.machine.done("cat", b"latest:" + path).stdout == file.read()


def test_cat_of_what_is_no_file(both: SimpleNamespace) -> None:
    for path in ("text", "links/absolute", "nowhere"):
        result = both.machine.run("cat", f"latest:{both.source}/{path}")
        assert (result.code, result.stdout) == (1, b"")
        assert path in result.stderr


def test_restore_of_a_part(both: SimpleNamespace, tmp_path: Path) -> None:
    directory = both.machine.restore(f"latest:{both.source}/names of directories", tmp_path / "directory")
    inside = b"names of directories"
    expected = {
        path[len(inside) + 1 :]: seen
        for path, seen in both.second.seen.items()
        if (path + b"/").startswith(inside + b"/")
    }
    assert look(directory) == expected
    file = both.machine.restore(f"latest:{both.source}/sizes/3000001", tmp_path / "file")
    assert below(file) == {b"3000001": both.second.seen[b"sizes/3000001"]}
    link = both.machine.restore(f"latest:{both.source}/links/absolute", tmp_path / "link")
    assert below(link) == {b"absolute": both.second.seen[b"links/absolute"]}


def test_verify_finds_no_difference(both: SimpleNamespace) -> None:
    files = sum(stat.S_ISREG(seen.kind) for seen in both.second.seen.values())
    done = both.machine.done("verify", "latest")
    assert done.text == f"Verify complete: {files} files compared, 0 differences found.\n"


@pytest.mark.parametrize("chunker", ["pyfastcdc", "fixed:64K", "fastcdc:64K,256K,1M"])
def test_sizes_around_every_edge(keys: Keys, tmp_path: Path, chunker: str) -> None:
    """Around the sizes of chunks, of frames, and of packs, with the defaults and the other chunkers."""
    if chunker.startswith("fastcdc"):
        pytest.importorskip("fastcdc")
    machine = Machine(tmp_path / "machine", keys.private)
    machine.done("init", "-e", keys.mail, "--chunker", chunker, "--pack-size", "2M")
    edges = [1 << 16, 1 << 18, FRAME, 2 * FRAME]
    sizes = {0, 1, *(edge + change for edge in edges for change in (-1, 0, 1))}
    source = tmp_path / "source"
    plant(source, {b"%d" % size: noise(size, size) for size in sizes})
    plant(source, {b"prose %d" % size: prose(size, size) for size in sizes if size > FRAME})
    age(source)
    expected = look(source)
    machine.snapshot(source)
    assert look(machine.restore("latest", tmp_path / "out")) == expected
    again = machine.done("snapshot", "--json", source).json["statistics"]
    assert (again["bytes_new"], again["files_unchanged"]) == (0, len(expected) - 1)


# -- roots


def test_several_roots_land_at_their_absolute_paths(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    plant(other, {b"f": b"f"})
    given = [source / "sub", other, source / "sub" / "deeper", source / "notes.txt", source / "sub"]
    made = machine.done("snapshot", "--json", *given).json
    assert made["snapshot"]["paths"] == [str(other), str(source / "notes.txt"), str(source / "sub")]
    out = owner.restore("latest", tmp_path / "out")
    assert look(Path(f"{out}{source}/sub")) == look(source / "sub")
    assert look(Path(f"{out}{other}")) == look(other)
    assert look(Path(f"{out}{source}/notes.txt")) == look(source / "notes.txt")
    assert {path.name for path in Path(f"{out}{source}").iterdir()} == {"sub", "notes.txt"}
    assert look(owner.restore(f"latest:{other}", tmp_path / "part")) == look(other)
    listed = owner.done("ls", "latest").text.splitlines()
    assert listed == [str(other), str(source / "notes.txt"), str(source / "sub")]


def test_one_place_has_many_spellings(machine: Machine, source: Path) -> None:
    (source.parent / "a link").symlink_to("source")
    spellings = [str(source), f"{source}/", "source", "./source", "source/.", "source/sub/..", f"{source}/../source//"]
    for spelling in spellings:
        made = machine.done("snapshot", "--json", spelling, cwd=source.parent).json
        assert made["snapshot"]["paths"] == [str(source)], spelling
    files = made["statistics"]["files"]
    assert made["statistics"]["files_unchanged"] == files
    with_slash = machine.done("snapshot", "--json", "a link/", cwd=source.parent).json
    assert (with_slash["snapshot"]["paths"], with_slash["statistics"]["files"]) == ([str(source)], files)
    itself = machine.done("snapshot", "--json", "a link", cwd=source.parent).json
    assert (itself["statistics"]["files"], itself["statistics"]["links"]) == (0, 1)


def test_a_single_file_as_root(machine: Machine, owner: Machine, source: Path, tmp_path: Path) -> None:
    machine.snapshot(source / "image")
    out = owner.restore("latest", tmp_path / "out")
    assert below(out) == {b"image": look(source / "image")[b""]}
    assert owner.done("cat", f"latest:{source}/image").stdout == (source / "image").read_bytes()
    assert owner.done("ls", "latest").text == f"{source}/image\n"


def test_an_empty_directory_as_root(machine: Machine, owner: Machine, source: Path, tmp_path: Path) -> None:
    machine.snapshot(source / "nothing")
    assert look(owner.restore("latest", tmp_path / "out")) == look(source / "nothing")
    assert owner.done("ls", "latest").text == ""


# -- again and again


def test_snapshots_one_right_after_the_other(machine: Machine, owner: Machine, source: Path, tmp_path: Path) -> None:
    """Changes of one and the same file, of the same size, faster than times of files or seconds of snapshots tell."""
    expected = []
    for number in range(3):
        (source / "notes.txt").write_bytes(b"%020d" % number)
        expected.append((machine.snapshot(source), look(source)))
    listed = machine.done("snapshots", "--json").json["snapshots"]
    assert [each["id"] for each in listed] == [each for each, _ in expected]
    for snapshot_id, seen in expected:
        assert look(owner.restore(snapshot_id, tmp_path / snapshot_id)) == seen
    assert look(owner.restore("latest", tmp_path / "latest")) == expected[-1][1]


def test_the_statistics_count_what_was_done(machine: Machine, source: Path) -> None:
    first = machine.done("snapshot", "--json", source).json["statistics"]
    assert (first["files"], first["files_new"], first["directories"], first["links"]) == (5, 5, 4, 1)
    assert first["bytes"] == first["bytes_read"] == first["bytes_new"] == 20_000 + 120_000 + 5 + 9_000
    assert first["packs"] == len(machine.names("packs/"))
    assert first["bytes_stored"] == sum(
        len(data) for name, data in machine.objects().items() if name[:2] in ("pa", "in")
    )
    (source / "image").unlink()
    (source / "added").write_bytes(b"added")
    (source / "sub" / "small").write_bytes(b"changed")
    second = machine.done("snapshot", "--json", source).json["statistics"]
    counts = {name: second[f"files_{name}"] for name in ("new", "changed", "unchanged", "deleted")}
    assert counts == {"new": 1, "changed": 1, "unchanged": 3, "deleted": 1}
    assert second["bytes_new"] == len(b"addedchanged")
    stored = machine.done("snapshots", "--json").json["snapshots"]
    wanted = first.keys() - {"deduplication", "compression"}
    assert stored[0]["statistics"] == {name: first[name] for name in wanted}
    people = machine.done("snapshot", source).text
    assert all(word in people for word in ("new", "changed", "unchanged", "deleted", "Deduplication", "Compression"))


def test_snapshots_are_told_by_what_was_said_about_them(machine: Machine, source: Path) -> None:
    machine.snapshot(source, "--tag", "a", "--tag", "b", "--tag", "a", "--host", "elsewhere", "--description", "why")
    (listed,) = machine.done("snapshots", "--json").json["snapshots"]
    assert (listed["tags"], listed["host"], listed["description"]) == (["a", "b"], "elsewhere", "why")
    assert (listed["partial"], listed["errors"], listed["paths"]) == (False, 0, [str(source)])
    assert "elsewhere" in machine.done("snapshots").text


def test_pipes_and_sockets_are_recorded_and_never_waited_for(
    machine: Machine, owner: Machine, source: Path, tmp_path: Path
) -> None:
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / "socket"))
        made = machine.done("snapshot", "--json", source).json
    assert made["statistics"]["specials"] == 2
    kinds = {Path(each["path"]).name: each["type"] for each in owner.done("ls", "latest", "--json").json["entries"]}
    assert (kinds["pipe"], kinds["socket"]) == ("fifo", "socket")
    told = owner.done("restore", "latest", tmp_path / "out").text
    assert "Pipes and devices: 1." in told
    assert "Not restored: devices or sockets: 1." in told


def test_paths_longer_than_the_system_allows(machine: Machine, owner: Machine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    here = os.open(source, os.O_RDONLY)
    for number in range(60):
        name = b"%03d-" % number + b"d" * 100
        os.mkdir(name, dir_fd=here)
        below_it = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below_it
    with open(os.open(b"leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(b"deep")
    os.close(here)
    expected = look(source)
    assert max(map(len, expected)) > os.pathconf("/", "PC_PATH_MAX")
    machine.snapshot(source)
    assert look(owner.restore("latest", tmp_path / "out")) == expected
    last = owner.run("verify", "latest").text.splitlines()[-1]
    assert last == "Verify complete: 1 file compared, 0 differences found."


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no file system whose times go beyond the year 9999")
def test_times_that_no_calendar_has(machine: Machine, owner: Machine, keys: Keys, tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as there:
        source = Path(there) / "source"
        source.mkdir()
        file = source / "far away"
        file.write_bytes(b"x")
        seconds = 1 << 40
        try:
            os.utime(file, ns=(seconds * 10**9, seconds * 10**9))
        except OverflowError:
            pytest.skip("Python does not set such times")
        expected = look(source)
        machine.snapshot(source)
        assert look(owner.restore("latest", Path(there) / "out")) == expected
        assert owner.done("ls", "-l", "latest").text.endswith("/far away\n")
        assert owner.done("ls", "--json", "latest").json["entries"][0]["mtime_ns"] == seconds * 10**9


# -- random trees

NAMES = st.binary(min_size=1, max_size=12).filter(lambda n: n not in (b".", b"..") and not {0, 47} & set(n))
CONTENTS = st.builds(noise, st.sampled_from([0, 1, 900, 1024, 5000, 16385, 40_000]), st.integers(0, 5))
TARGETS = st.binary(min_size=1, max_size=40).filter(lambda t: 0 not in t).map(os.fsdecode)
TREES: st.SearchStrategy[dict[bytes, Node]] = st.dictionaries(
    NAMES,
    st.recursive(CONTENTS | TARGETS, lambda inner: st.dictionaries(NAMES, inner, max_size=5), max_leaves=12),
    max_size=6,
)


@pytest.fixture(scope="module")
def shared(initialised: Machine, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = initialised.copy_to(tmp_path_factory.mktemp("shared") / "machine")
    return Machine(machine.root, keys.private)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES, seed=st.integers(0, 100))
def test_any_tree(
    shared: Machine, tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, Node], seed: int
) -> None:
    place = tmp_path_factory.mktemp("any")
    plant(place / "source", tree)
    age(place / "source", seed)
    expected = look(place / "source")
    shared.snapshot(place / "source")
    assert look(shared.restore("latest", place / "out")) == expected
