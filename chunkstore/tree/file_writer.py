"""The other side of `writer_process`: writes the files of batches."""

from __future__ import annotations

from chunkstore.errors import TargetError
from chunkstore.format.file_batches import Failure, decode_batch, encode_answer
from chunkstore.processes import serve
from chunkstore.tree.attributes import Ownership
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.problems import TargetFull
from chunkstore.tree.target import Target


def main(requests: int, answers: int, root: int, path: bytes, ownership: str) -> None:
    """Serve one restore into the open directory `root`, whose path is `path`."""
    with Target(root, path, Overwrite.REFUSE, Ownership(ownership), None, delete=False) as target:
        serve(requests, answers, lambda batch: write(target, batch))


def write(target: Target, batch: memoryview) -> bytes:
    """Write the files of a batch; the answer to it."""
    failures: list[Failure] = []
    for number, (relative, data, entry) in enumerate(decode_batch(batch)):
        try:
            target.write_whole(relative, data, entry)
        except TargetError as e:
            failures.append(Failure(number, isinstance(e, TargetFull), str(e)))
            if isinstance(e, TargetFull):
                break
    answer = encode_answer(dict(target.not_set), failures)
    target.not_set.clear()
    return answer
