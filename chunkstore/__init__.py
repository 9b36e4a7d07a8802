"""Content-addressed backups: deduplicated, compressed, encrypted for GPG recipients, without locks.

The verbs are in `chunkstore.operations`; `docs/format.md` describes every stored byte.
"""

__version__ = "0.1.0"
