"""A study of deduplication on stdout: tables for people, one JSON object for machines."""

from __future__ import annotations

from typing import Any

import click

from chunkstore.operations.dedup_study.values import Measurement, Study
from chunkstore.tree.display import display_path
from chunkstore.units import format_count, format_ratio, format_size

from .output import json_path, write_json, write_table

_HEADINGS = ("chunker", "chunks", "new", "mean", "dedup", "new bytes", "zstd", "stored", "index", "MB/s")


def write_study(study: Study) -> None:
    """For people."""
    remark = f", {format_count(study.links)} further names of them" if study.links else ""
    click.echo(f"{format_count(study.files)} files{remark}, {format_size(study.total)}.\n")
    write_table(_HEADINGS, [_row(each) for each in study.measurements], frozenset(range(1, len(_HEADINGS))))
    click.echo(f"\n{_sample(study)}")
    _write_duplicates(study)


def _row(measured: Measurement) -> tuple[str, ...]:
    counted = measured.counted
    return (
        str(measured.chunker),
        format_count(counted.chunks),
        format_count(counted.unique_chunks),
        format_size(counted.total / counted.chunks) if counted.chunks else "-",
        format_ratio(counted.total, counted.unique),
        format_size(counted.unique),
        format_ratio(counted.unique, measured.compressed),
        format_size(measured.stored),
        format_size(measured.index),
        f"{measured.rate / 1e6:,.0f}" if measured.cpu_ns else "-",
    )


def _sample(study: Study) -> str:
    tried = [each.sampled for each in study.measurements]
    if all(each.tried == each.frames for each in tried):
        return "Compression (zstd): all new data was tried."
    raw = min(each.raw for each in tried)
    return f"Compression (zstd): estimated from samples of {format_size(raw)} or more of the new data of each chunker."


def _write_duplicates(study: Study) -> None:
    measured = next(each for each in study.measurements if each.chunker == study.reference)
    counted = measured.counted
    click.echo(f"\nThere more than once, with {study.reference}: {format_size(counted.wasted)}")
    rows = [
        ("in files that are copies of another", format_count(study.copies), format_size(counted.copied)),
        ("within one file", "", format_size(counted.within)),
        ("across files that differ", "", format_size(counted.across)),
    ]
    write_table(("where", "files", "bytes"), rows, frozenset({1, 2}))
    if study.same_files:
        click.echo("\nThe same files, those that waste most first")
        for same in study.same_files:
            click.echo(f"{format_size(same.wasted):>10}  {format_count(same.count)} of {format_size(same.size)}")
            _write_paths([display_path(path) for path in same.paths], same.count)
    if study.same_chunks:
        click.echo("\nThe same chunks in files that differ, or more than once in one file")
        for chunk in study.same_chunks:
            zeros = ", zeros" if chunk.zeros else ""
            files = "1 file" if chunk.files == 1 else f"{format_count(chunk.files)} files"
            times = f"{format_count(chunk.count)} of {format_size(chunk.size)} in {files}"
            click.echo(f"{format_size(chunk.wasted):>10}  {times}{zeros}")
            _write_paths([f"{display_path(path)} at {format_count(at)}" for path, at in chunk.places], chunk.count)


def _write_paths(shown: list[str], count: int) -> None:
    for each in shown:
        click.echo(f"{'':10}  {each}")
    if count > len(shown):
        click.echo(f"{'':10}  and {format_count(count - len(shown))} more")


def write_study_json(study: Study) -> None:
    """For machines."""
    write_json(
        {
            "paths": [json_path(path) for path in study.paths],
            "files": study.files,
            "links": study.links,
            "bytes": study.total,
            "left_out": study.left_out,
            "copies": {"files": study.copies, "bytes": study.copied},
            "measurements": [_measurement(each) for each in study.measurements],
            "reference": str(study.reference),
            "same_files": [
                {"size": s.size, "count": s.count, "wasted": s.wasted, "paths": [json_path(path) for path in s.paths]}
                for s in study.same_files
            ],
            "same_chunks": [
                {
                    "size": s.size,
                    "count": s.count,
                    "files": s.files,
                    "wasted": s.wasted,
                    "zeros": s.zeros,
                    "places": [{"path": json_path(path), "offset": offset} for path, offset in s.places],
                }
                for s in study.same_chunks
            ],
            "problems": list(study.problems),
        }
    )


def _measurement(measured: Measurement) -> dict[str, Any]:
    counted, sampled = measured.counted, measured.sampled
    return {
        "chunker": str(measured.chunker),
        "algorithm": measured.chunker.algorithm,
        "size": measured.chunker.avg_size,
        "chunks": counted.chunks,
        "chunks_new": counted.unique_chunks,
        "bytes_new": counted.unique,
        "deduplication": round(counted.deduplication, 4),
        "wasted": counted.wasted,
        "wasted_copies": counted.copied,
        "wasted_within": counted.within,
        "wasted_across": counted.across,
        "compression": round(measured.compression, 4),
        "bytes_compressed": measured.compressed,
        "frames": sampled.frames,
        "frames_tried": sampled.tried,
        "bytes_index": measured.index,
        "bytes_stored": measured.stored,
        "cpu_ns": measured.cpu_ns,
        "bytes_per_second": round(measured.rate),
    }
