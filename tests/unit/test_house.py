"""The house rules that import-linter can not see: what the library touches besides its arguments (I-9)."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
LIBRARY = sorted((TOP / "chunkstore").rglob("*.py"))

FORBIDDEN = {
    "os.environ": "environment",
    "os.getenv": "environment",
    "time.time": "clock",
    "time.time_ns": "clock",
    "time.monotonic": "clock",
    "datetime.now": "clock",
    "socket.gethostname": "host",
    "sys.argv": "arguments",
    "sys.stdout": "terminal",
    "sys.stderr": "terminal",
    "sys.stdin": "terminal",
    "secrets.token_bytes": "randomness",
    "os.urandom": "randomness",
}

ALLOWED = {("publishing.py", "randomness: os.urandom"), ("sftp_publishing.py", "randomness: os.urandom")}
"""The name of a temporary file is no input: nothing that is stored depends on it."""


def dotted(node: ast.AST) -> str:
    """`a.b` of an attribute of a name, else nothing."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return ""


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(TOP)))
def test_library_has_no_hidden_inputs(path: Path) -> None:
    tree = ast.parse(path.read_text())
    used = {f"{FORBIDDEN[dotted(node)]}: {dotted(node)}" for node in ast.walk(tree) if dotted(node) in FORBIDDEN}
    used |= {"print" for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print"}
    assert not {each for each in used if (path.name, each) not in ALLOWED}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(TOP)))
def test_threads_start_in_one_module(path: Path) -> None:
    starting = {"Thread", "ThreadPoolExecutor", "ProcessPoolExecutor", "Timer"}
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert path.name == "parallel.py" or not names & starting


def test_the_rules_would_see_a_hidden_input() -> None:
    tree = ast.parse("import os\nhome = os.environ['HOME']\n")
    assert [dotted(node) for node in ast.walk(tree) if dotted(node) in FORBIDDEN] == ["os.environ"]


def test_every_package_is_installed() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(TOP).parts) for path in LIBRARY}
    found |= {
        ".".join(("chunkstore_cli", *path.parent.relative_to(TOP / "cli").parts))
        for path in (TOP / "cli").rglob("*.py")
    }
    assert listed == found
