"""Eight machines that snapshot into one SeaweedFS repository, one that forgets and prunes, all of them killed at random.

    python benchmarks/soak.py --minutes 10 [--machines 8] [--seed 1]

Real commands in real processes; SIGKILL takes a quarter of the snapshots and a third of the prunes. Afterwards every snapshot that said
it succeeded and that the rule keeps is restored and compared with what its source was, a last prune must leave nothing that is
in use nowhere, and `check --read-data` must find nothing. The exit code says whether that was so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from throwaway_key import throwaway_key

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.engine import scratch
from tests.s3_server import seaweedfs
from tests.soaking import Soak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="chunkstore-soak-", dir=scratch()) as base,
        throwaway_key() as key,
        seaweedfs() as server,
    ):
        access = server.make_bucket()
        soak = Soak(
            Path(base),
            f"s3://{access.bucket}/soak",
            access.environment,
            key.home,
            key.fingerprint,
            arguments.machines,
            arguments.seed,
            tell=lambda line: print(line, flush=True),
        )
        soak.go_on(60 * arguments.minutes)
        wrong = soak.check()
        print(soak.counts, flush=True)
    print("\n".join(wrong) or "every snapshot restores, and nothing is left over")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
