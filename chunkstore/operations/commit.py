"""The record of a run becomes the newest one of this client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chunkstore.format.client_state import ClientState
from chunkstore.format.records import SignedRecord, SnapshotRecord
from chunkstore.repository.places import load_state, locked, save_state
from chunkstore.repository.repository import Repository, Surroundings
from chunkstore.repository.session import Signing, WriteSession


def commit_as_next(
    session: WriteSession,
    repository: Repository,
    around: Surroundings,
    record: Callable[[ClientState], SnapshotRecord],
    sign: Signing | None,
) -> SignedRecord:
    """Commit what `record` makes of the state as it is now, and count on. `Fenced` as `WriteSession.commit` says."""
    places, repository_id = around.places, repository.key.repository_id
    with locked(places, repository_id):  # two runs on this machine must not take the same sequence number
        state = load_state(places, repository_id)
        signed = session.commit(record(state), sign)
        generation = max(state.generation, session.generation)
        following = replace(state, sequence=state.sequence + 1, previous=signed.digest, generation=generation)
        save_state(places, following)
    return signed
