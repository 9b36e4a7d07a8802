"""chunkstore ls"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator

import click

from chunkstore.format.entries import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
)
from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.selection import require
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path

from ..arguments import Chosen, snapshot_and_path
from ..opened import open_snapshot
from ..options import common_options, settings
from ..output import iso_time, json_path, local_time, write_json_list
from ..progress_view import progress
from .snapshots import as_json

KINDS = {
    FILE: ("file", stat.S_IFREG),
    DIRECTORY: ("directory", stat.S_IFDIR),
    SYMLINK: ("link", stat.S_IFLNK),
    FIFO: ("fifo", stat.S_IFIFO),
    SOCKET: ("socket", stat.S_IFSOCK),
    CHARACTER_DEVICE: ("character device", stat.S_IFCHR),
    BLOCK_DEVICE: ("block device", stat.S_IFBLK),
}


@click.command()
@click.argument("snapshot", callback=snapshot_and_path, metavar="SNAPSHOT[:PATH]")
@click.option("-l", "--long", is_flag=True, help="Mode, owner, size and time as well.")
@click.option("-R", "--recursive", is_flag=True, help="Everything below, too.")
@common_options
def command(snapshot: Chosen, long: bool, recursive: bool) -> None:
    """List what is in a snapshot, or in the directory PATH of it. Needs the GPG private key."""
    with progress() as view, open_snapshot(snapshot, view) as opened:
        entries = _chosen(opened.manifest, opened.record, snapshot.path, recursive)
        if settings().json:
            write_json_list({"snapshot": as_json(opened.record)}, "entries", map(_as_json, entries))
            return
        view.clear()
        for each in entries:
            sys.stdout.write((_long(each) if long else display_path(each.path)) + "\n")


def _chosen(
    manifest: ManifestReader, record: SnapshotRecord, path: bytes | None, recursive: bool
) -> Iterator[ManifestEntry]:
    if path is None and len(record.roots) > 1:
        for top in filter(None, map(manifest.find, record.roots)):  # a root that could not be read is not in there
            yield top
            if recursive and top.entry.kind == DIRECTORY:
                yield from manifest.below(top.path)
        return
    top = require(manifest, path if path is not None else record.roots[0])
    if top.entry.kind != DIRECTORY:
        yield top
    else:
        yield from manifest.below(top.path) if recursive else manifest.children(top.path)


def _long(found: ManifestEntry) -> str:
    entry = found.entry
    mode = stat.filemode(KINDS[entry.kind][1] | entry.mode)
    owner, time = f"{entry.uid:>6} {entry.gid:>6}", local_time(entry.mtime_ns)
    line = f"{mode} {owner} {entry.size:>13} {time:>19} {display_path(found.path)}"
    return f"{line} -> {display_path(entry.target)}" if entry.kind == SYMLINK else line


def _as_json(found: ManifestEntry) -> dict[str, object]:
    entry = found.entry
    described: dict[str, object] = {
        "path": json_path(found.path),
        "type": KINDS[entry.kind][0],
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": iso_time(entry.mtime_ns),
        "mtime_ns": entry.mtime_ns,
    }
    if entry.kind == SYMLINK:
        described["target"] = json_path(entry.target)
    return described
