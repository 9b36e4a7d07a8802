"""What the documents say is so: examples run, options and fields are those of the commands, constants those of the code.

The conventions are written down in docs/contributing.md, "Examples in the docs".
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import hmac
import importlib
import importlib.util
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import click
import pytest
from chunkstore_cli import failures
from chunkstore_cli.app import COMMANDS, chunkstore

from chunkstore import aead
from chunkstore.chunking import make_chunker, parse_chunker
from chunkstore.format import client_state, config, names, pack, records, runs, sealed_envelope, sealed_keys, tree_nodes
from chunkstore.format.entries import KINDS, Entry
from chunkstore.format.index import Generation, RunIndex
from chunkstore.format.kinds import MAGIC, PREFIX, VERSION, ObjectKind
from chunkstore.format.padding import padding_size
from chunkstore.ids import ChunkId, PackId, RepositoryId, SnapshotId
from chunkstore.keys import derivation, sealing
from chunkstore.keys.derivation import ChunkKind, IndexKey
from chunkstore.keys.opening import ReadingKey
from tests.gnupg_home import gnupg_home

TOP = Path(__file__).parents[2]
DOCS = sorted((TOP / "docs").glob("*.md"))
PAGES = [*DOCS, *(path for path in [TOP / "README.md"] if path.exists())]
FORMAT = (TOP / "docs" / "format.md").read_text()
COMMAND_LINE = (TOP / "docs" / "command-line.md").read_text()
WRITTEN_ELSEWHERE = {"benchmarks.md"}
ADDRESS = re.compile(r"[\w.+-]+@example\.(?:org|com|net)")
ABSOLUTE = re.compile(r"(?<![\w./~$}%-])/(?=[\w.-])(?!dev/)")


def page(path: Path) -> str:
    return path.name


# -- reading the documents


class Block(NamedTuple):
    """A fenced block: its language, its lines, and what stands right before it."""

    language: str
    lines: list[str]
    before: str


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    lines = iter(text.splitlines())
    before = ""
    for line in lines:
        if line.startswith("```"):
            inside = list(iter(functools.partial(next, lines), "```"))
            found.append(Block(line[3:].strip(), inside, before))
        before = line
    return found


def section(text: str, heading: str) -> str:
    """What stands below a heading, down to the next one of any level."""
    start = re.search(rf"^#+ {re.escape(heading)}\n", text, re.M)
    assert start, heading
    return re.split(r"^#+ ", text[start.end() :], maxsplit=1, flags=re.M)[0]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text, each a list of rows without the heading, each a list of cells."""
    found: list[list[list[str]]] = []
    for part in re.findall(r"(?:^\|.*\n?)+", text, re.M):
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in part.strip().splitlines()]
        found.append(rows[2:])
    return found


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def without_parentheses(text: str) -> str:
    return re.sub(r"\([^()]*\)", "", text)


def first_cells(rows: list[list[str]]) -> list[str]:
    return [name for row in rows for name in code(row[0])]


# -- examples


class World:
    """A machine for the examples of one document; absolute paths in commands stand for paths below `root`."""

    def __init__(self, root: Path, gnupg: str) -> None:
        self.root = root
        self.home = root / "home" / "you"
        documents = self.home / "Documents"
        documents.mkdir(parents=True)
        for name, content in {"notes.txt": b"notes\n", "empty": b"", "letter.txt": b"Dear reader\n" * 900}.items():
            (documents / name).write_bytes(content)
        (documents / "sub").mkdir()
        (documents / "sub" / "picture").write_bytes(random.Random(1).randbytes(300_000))
        (self.home / "Pictures").mkdir()
        binaries = root / "bin"
        binaries.mkdir()
        program = binaries / "chunkstore"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m chunkstore_cli "$@"\n')
        program.chmod(0o755)
        self.cwd, self.exported = root / "cwd", root / "exported"
        self.cwd.write_text(f"{self.home}\n")
        self.exported.write_text("")
        self.environment = {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "GNUPGHOME": gnupg,
            "LANG": "C.UTF-8",
        }

    def run(self, command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a line as the shell does; working directory and exported variables last."""
        script = (
            f'cd "$(cat {self.cwd})" || exit 99\n. {self.exported}\n{ABSOLUTE.sub(f"{self.root}/", command)}\n'
            f"code=$?\nexport -p > {self.exported}\npwd > {self.cwd}\nexit $code\n"
        )
        return subprocess.run(
            ["sh", "-c", script], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )

    def become_new(self) -> None:
        for below in (".local/state", ".cache"):
            shutil.rmtree(self.home / below, ignore_errors=True)


def examples(text: str) -> list[Block]:
    """The blocks that are run."""
    return [b for b in blocks(text) if b.language in ("console", "sh") and b.lines[:1] and is_example(b.lines[0])]


def is_example(line: str) -> bool:
    return line.startswith("$ chunkstore")


def expected_code(command: str) -> int:
    stated = re.search(r"# exit (\d+)\s*$", command)
    return int(stated[1]) if stated else 0


@pytest.fixture(scope="module")
def make_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[set[str]], World]]:
    """Makes worlds that share one gpg homedir."""
    with gnupg_home() as gnupg:
        made: set[str] = set()

        def make(addresses: set[str]) -> World:
            for address in sorted(addresses - made):
                gnupg.make_key(f"Somebody <{address}>")
                made.add(address)
            return World(tmp_path_factory.mktemp("world"), str(gnupg))

        yield make


@pytest.mark.parametrize("path", [p for p in PAGES if examples(p.read_text())], ids=page)
def test_examples_run(path: Path, make_world: Callable[[set[str]], World]) -> None:
    found = examples(path.read_text())
    world = make_world({a for block in found for line in block.lines for a in ADDRESS.findall(line)})
    for block in found:
        if block.before == "<!-- a new machine -->":
            world.become_new()
        for line in block.lines:
            if line.startswith("$ "):
                done = world.run(line[2:])
                assert done.returncode == expected_code(line), (line, done.stdout.decode(), done.stderr.decode())


def test_the_command_line_guide_has_examples_of_every_command() -> None:
    run = " ".join(line for block in examples(COMMAND_LINE) for line in block.lines)
    assert [name for name in COMMANDS if f" {name} " not in f"{run} "] == []


# -- commands, options, fields, codes


def options_of(command: click.Command) -> set[str]:
    """Those of a group are its own and those of its commands."""
    context = click.Context(command, **command.context_settings)
    below = command.commands.values() if isinstance(command, click.Group) and command.name != "chunkstore" else ()
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    own = {text for option in options for text in (*option.opts, *option.secondary_opts)}
    return own.union(*map(options_of, below))


def command_of(name: str) -> click.Command:
    found = chunkstore.get_command(click.Context(chunkstore), name)
    assert found is not None
    return found


COMMON = options_of(chunkstore) | {"-h", "--help"}


def documented_options(text: str) -> set[str]:
    rows = [row for table in tables(text) for row in table if row[0].startswith("`-")]
    return {option for row in rows for option in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", " ".join(code(row[0])))}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_of_a_command_is_documented_and_none_is_invented(name: str) -> None:
    text = section(COMMAND_LINE, f"chunkstore {name}")
    assert documented_options(text) == options_of(command_of(name)) - COMMON


def test_the_common_options_are_documented() -> None:
    text = section(COMMAND_LINE, "Common options")
    assert documented_options(text) | {"--version"} == COMMON
    assert "chunkstore --version" in text


def test_the_commands_are_documented() -> None:
    headings = re.findall(r"^## chunkstore (\S+)$", COMMAND_LINE, re.M)
    assert headings == list(COMMANDS)
    assert first_cells(tables(COMMAND_LINE)[0]) == list(COMMANDS)


def command_lines(text: str) -> list[str]:
    """Whatever looks like a command line: in blocks, and in backticks."""
    in_blocks = [line for block in blocks(text) for line in block.lines if block.language != "python"]
    lines = [match[1] for line in in_blocks if (match := re.search(r"(?:^|\s)chunkstore (\S.*)", line))]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    lines += [span.removeprefix("chunkstore ") for span in code(prose) if span.startswith("chunkstore ")]
    return [line for line in lines if not line.startswith(("[", "/", "key 1"))]


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_command_lines_name_commands_and_options_that_exist(path: Path) -> None:
    for line in command_lines(path.read_text()):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("|;&<>"):
                break
            words.append(word)
        if words in (["--version"], ["--help"]):
            continue
        plain = [w for at, w in enumerate(words) if not w.startswith("-") and (not at or words[at - 1] != "-r")]
        assert plain[0] in COMMANDS, line
        options = {w.partition("=")[0] for w in words if re.match(r"--?[A-Za-z]", w)}
        assert options <= options_of(command_of(plain[0])) | COMMON, line


def test_the_exit_codes_are_documented() -> None:
    rows = tables(section(COMMAND_LINE, "Exit codes"))[0]
    codes = {value for name, value in vars(failures).items() if name.isupper() and isinstance(value, int)}
    assert {int(row[0]) for row in rows} == codes


def test_the_environment_variables_are_documented() -> None:
    documented = set(first_cells(tables(section(COMMAND_LINE, "Environment"))[0]))
    used: set[str] = set()
    for path in (TOP / "cli").rglob("*.py"):
        tree = ast.parse(path.read_text())
        reads = [node for node in ast.walk(tree) if isinstance(node, ast.Call | ast.Compare | ast.Subscript)]
        for node in (node for node in reads if "os.environ" in ast.unparse(node)):
            texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            used |= {text for text in texts if isinstance(text, str) and re.fullmatch(r"[A-Z_]{4,}", text)}
    assert used
    assert used | {"TMPDIR"} == documented


def json_fields(name: str) -> dict[str, str]:
    """Field -> description, of the table of a command."""
    table = next(t for t in tables(section(COMMAND_LINE, f"chunkstore {name}")) if "`version`" in t[0][0])
    return {field: row[1] for row in table for field in code(row[0])}


def test_json_has_exactly_the_fields_that_are_documented(make_world: Callable[[set[str]], World]) -> None:
    world = make_world({"you@example.org"})
    os.symlink("notes.txt", world.home / "Documents" / "link")

    def ask(command: str) -> dict[str, object]:
        done = world.run(f"chunkstore -r /backup --json {command}")
        assert done.returncode == 0, done.stderr.decode()
        value: dict[str, object] = json.loads(done.stdout)
        assert value["version"] == 1
        assert set(value) == set(json_fields(command.split()[0]))
        return value

    made = ask("init -e you@example.org")
    ask(f"join --fingerprint {made['fingerprint']}")
    taken = ask("snapshot ~/Documents")
    listed = ask("snapshots --group-by host")
    ask("tag latest --add kept")
    thinned = ask("forget --dry-run --keep-last 5")["groups"]
    ask("restore latest ~/out")
    entries = ask("ls -R latest")["entries"]
    matches = ask("find notes.txt")["matches"]
    differences = ask("diff latest ./out")
    versions = ask("history ~/Documents/notes.txt")["versions"]
    ask("verify latest ~/out")
    looked = ask("check")
    (world.home / "Pictures" / "zeros").write_bytes(bytes(400_000))
    studied = ask("bench dedup --sizes 16K ~/Documents ~/out ~/Pictures")

    def inner(name: str, field: str) -> set[str]:
        return set(code(without_parentheses(json_fields(name)[field])))

    assert set(made["recipients"][0]) == inner("init", "recipients")  # type: ignore[index]
    assert set(taken["snapshot"]) == inner("snapshot", "snapshot")  # type: ignore[call-overload]
    assert set(listed["snapshots"][0]) == inner("snapshots", "snapshots")  # type: ignore[index]
    assert set(listed["groups"][0]) == inner("snapshots", "groups")  # type: ignore[index]
    assert set(thinned[0]) == inner("forget", "groups")  # type: ignore[index]
    for field in ("copies", "same_files", "same_chunks"):
        value = studied[field]
        assert set(value[0] if isinstance(value, list) else value) == inner("bench", field)  # type: ignore[call-overload]
    measured = next(t for t in tables(section(COMMAND_LINE, "chunkstore bench")) if "`chunker`" in t[0][0])
    assert set(studied["measurements"][0]) == set(first_cells(measured))  # type: ignore[index]
    assert isinstance(entries, list)
    assert {key for each in entries for key in each} == inner("ls", "entries")
    assert set(matches[0]) == inner("ls", "entries") | inner("find", "matches") | {"time", "host"}  # type: ignore[index]
    assert set(differences["totals"]) == inner("diff", "totals")  # type: ignore[call-overload]
    assert set(versions[0]) == inner("history", "versions")  # type: ignore[index]
    assert set(looked["chunks"]) == inner("check", "chunks")  # type: ignore[call-overload]
    assert set(looked["objects"][0]) == inner("check", "objects")  # type: ignore[index]
    statistics = next(t for t in tables(section(COMMAND_LINE, "chunkstore snapshot")) if "`files`" in t[0][0])
    assert set(taken["statistics"]) == set(first_cells(statistics))  # type: ignore[call-overload]


# -- what all documents keep to


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_no_path_of_a_machine_is_in_the_docs(path: Path) -> None:
    assert re.findall(r"(?<![\w.~}])/(?:work|root|tmp|var/tmp|dev/shm|Users)\b.*", path.read_text()) == []


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if there.name in WRITTEN_ELSEWHERE and not there.exists():
            continue
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text()), target


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=page)
def test_files_and_modules_that_are_named_exist(path: Path) -> None:
    for span in code(path.read_text()):
        if re.fullmatch(r"chunkstore(\.\w+)+", span):
            assert exists(span), span
        elif re.fullmatch(r"[\w.*-]+(/[\w.*-]+)+(\.\w+|/)", span) and "XDG" not in span:
            assert [*TOP.glob(span.rstrip("/")), *(TOP / "chunkstore").glob(span.rstrip("/"))], span


def exists(dotted: str) -> bool:
    """Whether this is a module, or something in one."""
    if importlib.util.find_spec(dotted.rpartition(".")[0]) is None:
        return False
    module = importlib.import_module(dotted.rpartition(".")[0])
    return hasattr(module, dotted.rpartition(".")[2]) or importlib.util.find_spec(dotted) is not None


@pytest.mark.parametrize("what", ["dependencies", "optional-dependencies"])
def test_each_dependency_is_explained(what: str) -> None:
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    listed = project[what] if what == "dependencies" else [each for extra in project[what].values() for each in extra]
    wanted = {re.match(r"[\w-]+", each)[0] for each in listed}  # type: ignore[index]
    text = (TOP / "docs" / "dependencies.md").read_text()
    rows = tables(text)[0] if what == "dependencies" else tables(section(text, "Development"))[0]
    assert {row[0] for row in rows} == wanted


# -- the format


def hkdf(secret: bytes, label: str, length: int, bound_to: bytes = b"") -> bytes:
    """As the document has it, by hand."""
    key = hmac.digest(b"chunkstore/1", secret, "sha256")
    out = block = b""
    while len(out) < length:
        block = hmac.digest(key, block + label.encode() + b"\0" + bound_to + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


def test_labels_and_lengths_of_the_derivation() -> None:
    key = IndexKey(bytes(range(32)), (bytes(range(1, 33)),), (ReadingKey(bytes(range(2, 34))).public,))
    generation, salt = key.newest_generation, b"s" * 32
    root = hkdf(key.ledger_secrets[0], "ledger root", 32)
    object_key = generation.object_key(salt)
    seed = key.chunker_seed
    results: dict[str, tuple[bytes, bytes, bytes | None]] = {
        "repository id": (key.id_secret, key.reading_keys[0], key.repository_id),
        "chunk id content": (key.id_secret, b"", key.chunk_id_keys[ChunkKind.CONTENT]),
        "chunk id manifest": (key.id_secret, b"", key.chunk_id_keys[ChunkKind.MANIFEST]),
        "chunk id reference": (key.id_secret, b"", key.chunk_id_keys[ChunkKind.REFERENCE]),
        "chunker seed": (key.id_secret, b"", None),
        "segment cut": (key.id_secret, b"", key.segment_cut_key),
        "ledger root": (key.ledger_secrets[0], b"", root),
        "ledger key id": (key.ledger_secrets[0], b"", generation.key_id),
        "ledger object": (root, salt, object_key.key + object_key.commitment),
        "reference frames": (root, salt, b"".join(generation.reference_frame_key(salt))),
    }
    rows = tables(section(FORMAT, "Derivation"))[0]
    assert [code(row[1])[0] for row in rows] == list(results)
    for row in rows:
        secret, bound_to, expected = results[code(row[1])[0]]
        derived = hkdf(secret, code(row[1])[0], int(row[3]), bound_to)
        assert int.from_bytes(derived, "big") >> 1 == seed if expected is None else derived == expected
    assert derivation.SALT == b"chunkstore/1"
    assert derivation.SALT_SIZE == derivation.SECRET_SIZE == 32


def test_ids_of_keys() -> None:
    labels = [code(row[1])[0].encode() for row in tables(section(FORMAT, "Ids of keys"))[0]]
    ids = [hashlib.sha256(label + b"\0" + b"k" * 32).digest()[:16] for label in labels]
    assert ids == [sealing.reading_key_id(b"k" * 32), sealing.data_key_id(b"k" * 32)]
    assert sealing.DATA_KEY_LABEL == b"chunkstore/1 data key\0"
    assert "`chunkstore/1 data key`, a zero byte, the repository id" in FORMAT


def test_limits() -> None:
    rows = tables(section(FORMAT, "Limits"))[0]
    assert len(rows) > 10
    for _, value, _, constant in rows:
        module, _, name = code(constant)[0].rpartition(".")
        assert int(value) == getattr(importlib.import_module(module), name), constant


def test_kinds_and_names() -> None:
    prefix_table, kinds = tables(section(FORMAT, "Prefix of every object"))
    assert sum(int(row[0]) for row in prefix_table) == PREFIX.size
    assert {int(row[0]) for row in kinds} == set(ObjectKind)
    session, digest = SnapshotId("ab" * 16), bytes(32)
    made = {
        names.config(0): "config/<n>",
        names.recipients(1): "recipients/<n>",
        names.sealed_key(bytes(16), 0): "keys/<key id>.<n>",
        names.pack(PackId(digest)): "packs/<xx>/<sha256>",
        names.run_index(session, 0): "index/run-<session>-<n>",
        names.segment(digest): "index/segment-<sha256>",
        names.generation(1): "index/generation-<n>",
        names.snapshot(session): "snapshots/<id>",
        names.amendment(session): "amendments/<id>",
        names.session(session): "sessions/<id>",
        names.plan(1): "prunes/<n>",
        names.plan_done(1): "prunes/<n>.done",
    }
    rows = tables(section(FORMAT, "Names of objects"))[0]
    assert first_cells(rows) == list(made.values())
    of_kind = {int(kind) for row in rows for kind in row[1].split(",")}
    assert of_kind == set(ObjectKind) - {ObjectKind.PACK_TABLE}
    forms = {"<n>": r"\d{4}|\d{6}|\d{16}", "<key id>": "[0-9a-f]{32}", "<xx>/<sha256>": "00/0{64}", "<sha256>": "0{64}"}
    forms |= {"<session>": "(?:ab){16}", "<id>": "(?:ab){16}"}
    for name, template in made.items():
        pattern = re.escape(template)
        for part, form in forms.items():
            pattern = pattern.replace(re.escape(part), f"(?:{form})")
        assert re.fullmatch(pattern, name), (name, template)


def test_magics_and_sizes() -> None:
    assert VERSION == 1
    for magic in (MAGIC, pack._END, aead._MAGIC, sealed_keys._PLAIN_MAGIC):
        assert f"`{magic.decode()}`" in FORMAT
    packs = tables(section(FORMAT, "Packs"))
    numbers = [int(row[0]) for row in packs[0] if row[0].isdigit()]
    assert numbers == [PREFIX.size, 2, 4, 4, 8, 4, 8]
    assert pack._COUNTS.size == 10
    assert pack._TRAILER.size == 20
    assert sum(int(row[0]) for row in packs[1]) == pack._SLOT.size == 113
    assert sum(int(row[0]) for row in tables(section(FORMAT, "Map of a pack"))[1]) == pack._FRAME.size == 20
    assert sum(int(row[0]) for row in tables(section(FORMAT, "Frames"))[1]) == 61
    key = sealing.FrameKey(b"k" * 16, b"K" * 32)
    aad = aead._aad(RepositoryId(b"r" * 32), key, ChunkKind.MANIFEST, 258)
    assert aad == b"CSFRAME1" + b"r" * 32 + b"k" * 16 + b"\2" + b"\0\0\1\2"
    envelope, sealed = tables(section(FORMAT, "Envelope of ledger objects")), tables(section(FORMAT, "Sealed keys"))
    assert sum(int(row[0]) for row in envelope[0] if row[0].isdigit()) == 116 + aead.TAG_SIZE
    assert sum(int(row[0]) for row in sealed[0] if row[0].isdigit()) == PREFIX.size + sealed_envelope.HEAD.size + 32
    assert sum(int(row[0]) for row in sealed[1] if row[0].isdigit()) == sealed_keys._PLAIN.size == 65
    signed = records.signed_bytes(b"body", RepositoryId(b"r" * 32), SnapshotId("ab" * 16))
    assert signed == b"chunkstore/1 snapshot\0" + b"r" * 32 + b"\xab" * 16 + b"body"


def test_fields_of_maps() -> None:
    made = config.Config(0, RepositoryId(bytes(32)), "fixed:1M", 1 << 20, 1 << 24, (), True, b"")
    assert first_cells(tables(section(FORMAT, "Config"))[0]) == keys_of(config.encode_config(made))
    recipients = config.Recipients(0, (config.RecipientEntry("A", "B", "C", b"d"),), b"", None)
    assert first_cells(tables(section(FORMAT, "Recipients"))[0]) == keys_of(config.encode_recipients(recipients))
    info = pack.PackInfo(PackId(bytes(32)), ObjectKind.TREE_PACK, 1, (), ())
    assert first_cells(tables(section(FORMAT, "Map of a pack"))[0]) == list(pack.pack_fields(info))
    fields = first_cells(tables(section(FORMAT, "Snapshots"))[1])
    assert fields == [field.name for field in dataclasses.fields(records.SnapshotRecord)]
    entry = tables(section(FORMAT, "Segment"))[1]
    assert [code(row[1])[0] for row in entry] == list(Entry._fields)
    entry_kinds = entry[1][3]
    assert {int(number) for number in re.findall(r"\d+", entry_kinds)} == KINDS


def test_fields_of_small_objects() -> None:
    of = {row[0]: set(code(without_parentheses(row[1]))) for row in tables(section(FORMAT, "Index"))[0]}
    of |= {row[0]: set(code(without_parentheses(row[1]))) for row in tables(section(FORMAT, "Snapshots"))[0]}
    of |= {
        row[0]: set(code(without_parentheses(row[1]))) for row in tables(section(FORMAT, "Sessions and prune plans"))[0]
    }

    def named(kind: type) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    assert of["run index"] == named(RunIndex)
    assert of["generation"] == named(Generation)
    assert of["record"] == set(keys_of(records.encode_record(b"", None)))
    assert of["tombstone"] == named(records.Tombstone)
    assert of["amendment"] == named(records.Amendment)
    assert of["session"] == named(runs.Session)
    assert of["plan"] == named(runs.Plan)
    assert of["done mark"] == named(runs.PlanDone)


def keys_of(body: bytes) -> list[str]:
    import msgpack

    return list(msgpack.unpackb(body))


def test_fields_of_the_client_state() -> None:
    state = next(
        row for row in tables(section(FORMAT, "Local files, not part of the format"))[0] if "/client" in row[0]
    )
    documented = [word for word in code(state[1]) if re.fullmatch("[a-z_]+", word)]
    key = IndexKey(bytes(32), (bytes(32),), (bytes(32),))
    recipients = config.Recipients(0, (config.RecipientEntry("A", "B", "C", b"d"),), b"", None)
    made = client_state.ClientState(key, recipients, pack.KeyMessages(b"", b""), bytes(16), 0, b"", 0, 0)
    assert documented == keys_of(client_state.encode(made))


@pytest.mark.parametrize("size", [1, 4000, 4096, (1 << 20) - 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 17 << 20])
def test_padding_as_it_is_described(size: int) -> None:
    for drawn in (0, 1, 4095, 4096, 65535, 2**32 - 1):
        step = 4096 if size < 1 << 20 else 65536
        whole = size + drawn % step
        step = 65536 if whole > 1 << 20 else step
        expected = -(-whole // step) * step - size
        assert padding_size(size, lambda _: drawn.to_bytes(4, "big")) == expected  # noqa: B023


def test_the_chunker_as_it_is_described() -> None:
    masks = {int(n): int(code(mask)[0], 16) for row in tables(section(FORMAT, "Chunkers"))[1] for n, mask in pairs(row)}
    assert sorted(masks) == list(range(7, 24))
    assert max(masks.values()).bit_length() == 48
    gear = [int.from_bytes(hashlib.md5(bytes([i]) * 64).digest()[:8], "big") for i in range(256)]
    data = random.Random(5).randbytes(60_001)
    for text in ("pyfastcdc:64,256,1K", "pyfastcdc:66,300,1025", "pyfastcdc:1K,4K,16K", "pyfastcdc:512,512,3001"):
        parameters = parse_chunker(text)
        for seed in (1, 0x7ABCDEF0123456789 & (2**63 - 1)):
            sizes = (parameters.min_size, parameters.avg_size, parameters.max_size)
            described = list(cut(data, sizes, [each ^ seed for each in gear], masks))
            assert make_chunker(parameters, seed).cut(memoryview(data), True) == described


def pairs(row: list[str]) -> list[tuple[str, str]]:
    return [(row[i], row[i + 1]) for i in range(0, len(row), 2) if row[i]]


def cut(data: bytes, sizes: tuple[int, int, int], gear: list[int], masks: dict[int, int]) -> Iterator[int]:
    """The ends of the chunks, one byte at a time, as format.md says."""
    import math

    min_size, avg_size, max_size = sizes
    bits = math.floor(math.log2(avg_size) + 0.5)
    start = 0
    while start < len(data):
        left = len(data) - start
        length = min(left, max_size)
        if left > min_size:
            h, mid = 0, min(avg_size, length) // 2 * 2
            for at in range(min_size, length // 2 * 2):
                h = (2 * h + gear[data[start + at]]) % 2**64
                if not h & masks[bits + 1 if at < mid else bits - 1]:
                    length = at
                    break
        start += length
        yield start


def test_runs_and_nodes_as_they_are_described() -> None:
    ids = [ChunkId(bytes([number]) * 32) for number in (1, 2)]
    assert tree_nodes.encode_run(ids) == b"I" + b"".join(ids)
    reference = tree_nodes.ReferenceNode(0, (tree_nodes.SegmentRef(ids[0], 7, (tree_nodes.RunRef(ids[1], 2),)),))
    assert unpacked(tree_nodes.encode_reference_node(reference)) == ["R", 0, [[ids[0], 7, [[ids[1], 2]]]]]
    above = tree_nodes.ReferenceNode(1, (tree_nodes.NodeRef(ids[0], ids[1]),))
    assert unpacked(tree_nodes.encode_reference_node(above)) == ["R", 1, [[ids[0], ids[1]]]]
    content = tree_nodes.ContentNode(1, ((b"/a", b"b"),))
    assert unpacked(tree_nodes.encode_content_node(content)) == ["C", 1, [[b"/a", b"b"]]]


def unpacked(data: bytes) -> object:
    import msgpack

    return msgpack.unpackb(data)


# -- the program in format.md


@pytest.fixture(scope="module")
def written(make_world: Callable[[set[str]], World]) -> SimpleNamespace:
    """A world with a repository of small chunks and several segments, and the program."""
    world = make_world({"you@example.org"})
    many = world.home / "Documents" / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number:04}").write_bytes(b"%d" % number)
    (program,) = (block for block in blocks(FORMAT) if block.language == "python")
    with (world.home / "Documents" / "sparse").open("wb") as sparse:
        for offset in (0, 300_000, 900_000):
            sparse.seek(offset)
            sparse.write(b"data at %d " % offset * 1000)
        sparse.truncate(1_200_000)
    source = world.root / "reader.py"
    source.write_text("\n".join(program.lines))
    for command in ("init -e you@example.org --chunker pyfastcdc:1K,4K,16K --pack-size 1M", "snapshot ~/Documents"):
        done = world.run(f"chunkstore -q -r /backup {command}")
        assert done.returncode == 0, done.stderr.decode()

    def run(*arguments: str) -> bytes:
        line = [sys.executable, str(source), *arguments]
        done = subprocess.run(line, env=world.environment, capture_output=True, cwd=world.root, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return SimpleNamespace(world=world, source=source, run=run, repository=world.root / "backup")


@pytest.mark.parametrize("name", ["notes.txt", "empty", "sub/picture", "many/0000", "many/2999", "sparse"])
def test_the_program_reads_a_file_without_chunkstore(written: SimpleNamespace, name: str) -> None:
    file = written.world.home / "Documents" / name
    assert written.run(str(written.repository), str(file)) == file.read_bytes()


def test_the_program_reads_packs_that_are_found_alone(written: SimpleNamespace, tmp_path: Path) -> None:
    counted = {"content": 0, "manifest": 0, "reference": 0}
    for number, found in enumerate(written.repository.glob("packs/*/*")):
        alone = shutil.copy(found, tmp_path / f"pack-{number}")
        for line in written.run(str(alone)).decode().splitlines():
            kind, length = line.split()
            counted[kind] += int(length)
    files = [path.read_bytes() for path in (written.world.home / "Documents").rglob("*") if path.is_file()]
    assert counted["content"] <= sum(map(len, files))
    assert counted["content"] >= 300_000
    assert counted["manifest"] > 0
    assert counted["reference"] > 32 * 3000


def test_the_program_knows_nothing_of_chunkstore(written: SimpleNamespace) -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(written.source.read_text()))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not [name for name in imported if name.startswith("chunkstore")]
