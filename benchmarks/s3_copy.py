"""A plain copy of objects by boto3 in parallel: what a program that only transfers takes. For `s3.py`.

    python benchmarks/s3_copy.py upload DIR BUCKET PREFIX THREADS
    python benchmarks/s3_copy.py download DIR BUCKET PREFIX THREADS
    python benchmarks/s3_copy.py receive BUCKET PREFIX THREADS

`upload` sends every file below DIR, `download` writes every object to a file, `receive` reads every object and keeps nothing.
boto3 with its defaults, its checksums included. Credentials and the endpoint are in the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

Action = Callable[[str], None]


def main() -> int:
    verb, *place = sys.argv[1:]
    bucket, prefix, threads = place[-3:]
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=int(threads))
    client = boto3.client("s3", config=config)
    if verb == "upload":
        root = Path(place[0])
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        each(names, int(threads), lambda name: upload(client, bucket, f"{prefix}{name}", root / name))
    else:
        target = Path(place[0]) if verb == "download" else None
        names = listed(client, bucket, prefix)
        each(names, int(threads), lambda name: download(client, bucket, f"{prefix}{name}", target and target / name))
    return 0


def each(names: Iterable[str], threads: int, action: Action) -> None:
    """Do it for all of them; the first error ends it."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(action, names):
            pass


def listed(client: Any, bucket: str, prefix: str) -> list[str]:
    """The names below a prefix, without it."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [found["Key"][len(prefix) :] for page in pages for found in page.get("Contents", ())]


def upload(client: Any, bucket: str, key: str, path: Path) -> None:
    client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


def download(client: Any, bucket: str, key: str, path: Path | None) -> None:
    data = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
