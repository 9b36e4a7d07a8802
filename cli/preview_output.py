"""What `snapshot --dry-run` writes."""

from __future__ import annotations

import json
import sys
from typing import Any

from chunkstore.operations.snapshot.preview import Preview, PreviewedFile, State
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_size

from .output import SCHEMA, json_path


class PreviewLines:
    """For people: a line a file, then a summary; with `quiet` nothing."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def file(self, file: PreviewedFile) -> None:
        self._line(file.state.value, format_size(file.size), display_path(file.path))

    def left_out(self, path: bytes, reason: str) -> None:
        self._line("left out", "", f"{display_path(path)}  ({reason})")

    def _line(self, state: str, size: str, text: str) -> None:
        if not self._quiet:
            sys.stdout.write(f"{state:9}  {size:>10}  {text}\n")

    def end(self, result: Preview) -> None:
        if self._quiet:
            return
        rows = [(state.value, result.files[state], format_size(result.bytes[state])) for state in State]
        rows += [("deleted", result.files_deleted, ""), ("left out", result.left_out, "")]
        sys.stdout.write("\n")
        for name, number, size in rows:
            sys.stdout.write(f"{name:9}  {format_count(number):>10}  {size:>10}".rstrip() + "\n")
        sys.stdout.write("Nothing was stored.\n")


class PreviewJson:
    """One JSON object, written as it comes: after an error it is cut short."""

    def __init__(self) -> None:
        self._before = f'{{"version": {SCHEMA}, "dry_run": true, "entries": ['

    def file(self, file: PreviewedFile) -> None:
        self._entry({"path": json_path(file.path), "state": file.state.value, "size": file.size})

    def left_out(self, path: bytes, reason: str) -> None:
        self._entry({"path": json_path(path), "state": "left out", "reason": reason})

    def _entry(self, entry: dict[str, Any]) -> None:
        sys.stdout.write(self._before + json.dumps(entry))
        self._before = ", "

    def end(self, result: Preview) -> None:
        if not self._before.startswith(","):
            sys.stdout.write(self._before)
        statistics = {
            **{f"files_{state.value}": result.files[state] for state in State},
            **{f"bytes_{state.value}": result.bytes[state] for state in State},
            "files_deleted": result.files_deleted,
            "directories": result.directories,
            "links": result.links,
            "specials": result.specials,
            "left_out": result.left_out,
        }
        rest = {
            "paths": [json_path(path) for path in result.paths],
            "statistics": statistics,
            "problems": result.problems,
        }
        sys.stdout.write("], " + json.dumps(rest)[1:] + "\n")
