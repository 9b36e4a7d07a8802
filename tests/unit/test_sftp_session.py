"""What a server may send, and what is made of it: nothing it says is believed without a check."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("paramiko")

from chunkstore.storage.sftp_packets import Fields, Garbled, Kind, Refused
from chunkstore.storage.sftp_session import ConnectionLost, SftpSession
from chunkstore.storage.sftp_transfers import list_directories, read

GREETING = struct.pack(">IBI", 5, Kind.VERSION, 3)


class Script:
    """A server that says what was written down for it, then hangs up."""

    def __init__(self, answers: bytes) -> None:
        self._answers = answers
        self.sent = b""

    def send(self, data: bytes, /) -> int:
        self.sent += data
        return len(data)

    def recv(self, size: int, /) -> bytes:
        piece, self._answers = self._answers[:size], self._answers[size:]
        return piece


def packet(kind: int, number: int, fields: bytes = b"") -> bytes:
    return struct.pack(">IBI", 5 + len(fields), kind, number) + fields


def status(number: int, code: int, text: bytes = b"") -> bytes:
    return packet(Kind.STATUS, number, struct.pack(">II", code, len(text)) + text)


def session(*answers: bytes) -> SftpSession:
    return SftpSession(Script(GREETING + b"".join(answers)), "nas", lambda: None)


def test_a_server_without_extensions() -> None:
    quiet = session()
    assert quiet.extensions == frozenset()
    assert quiet.transfer == 32 * 1024
    assert quiet.idle


@pytest.mark.parametrize(
    "greeting",
    [struct.pack(">IBI", 5, Kind.VERSION, 2), struct.pack(">IBI", 5, Kind.STATUS, 3), b"Welcome to this server"],
)
def test_what_is_no_greeting(greeting: bytes) -> None:
    with pytest.raises(Garbled, match="not SFTP"):
        SftpSession(Script(greeting), "nas", lambda: None)


def test_a_server_that_hangs_up() -> None:
    for said in (b"", GREETING[:3], GREETING[:-1]):
        with pytest.raises(ConnectionLost, match="the server closed it"):
            SftpSession(Script(said), "nas", lambda: None)
    broken = session()
    with pytest.raises(ConnectionLost) as caught:
        broken.stat(b"/a")
    assert caught.value.transient
    assert not broken.idle


def test_answers_in_any_order() -> None:
    swapped = session(status(2, 0), status(1, 4, b"no"))
    first, second = swapped.post(Kind.REMOVE, b""), swapped.post(Kind.REMOVE, b"")
    refusal = swapped.refusal(first)
    assert refusal is not None
    assert refusal.text == "no"
    assert not swapped.idle
    swapped.finish(second)
    assert swapped.idle


@pytest.mark.parametrize("answer", [status(2, 0), status(0, 0), packet(Kind.DATA, 1, b""), packet(77, 1)])
def test_answers_to_nothing_or_of_the_wrong_kind(answer: bytes) -> None:
    wrong = session(answer)
    with pytest.raises(Garbled):
        wrong.call(Kind.REMOVE)
    assert not wrong.idle


def test_packets_of_impossible_lengths() -> None:
    for length in (0, 4, 2**31):
        with pytest.raises(Garbled, match="impossible length"):
            session(struct.pack(">IB", length, Kind.STATUS)).call(Kind.REMOVE)


def test_more_bytes_than_were_asked_for() -> None:
    handle = packet(Kind.HANDLE, 1, struct.pack(">I", 1) + b"h")
    size = packet(Kind.ATTRS, 2, struct.pack(">IQI", 5, 10, 0o100600))
    data = packet(Kind.DATA, 3, struct.pack(">I", 11) + bytes(11))
    with pytest.raises(Garbled, match="more bytes"):
        read(session(handle, size, data), b"/a", 0, 10)


def test_what_a_server_says_is_shown_without_control_characters() -> None:
    with pytest.raises(Refused) as caught:
        session(status(1, 4, b"\x1b[31mno\n\xff" + b"x" * 1000)).call(Kind.REMOVE)
    assert str(caught.value).startswith("[31mno")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 201


@given(st.binary(max_size=120))
def test_fields_of_any_bytes(data: bytes) -> None:
    takers: list[Callable[[Fields], object]] = [
        Fields.u32, Fields.u64, Fields.string, Fields.attributes, Fields.refusal,
        lambda fields: list(fields.entries()), lambda fields: list(fields.pairs()),
    ]  # fmt: skip
    for take in takers:
        try:
            take(Fields(data))
        except Garbled:
            continue


@given(
    st.lists(
        st.tuples(st.sampled_from([101, 102, 103, 104, 105]), st.integers(1, 6), st.binary(max_size=40)), max_size=8
    )
)
def test_any_answers_end_in_a_result_or_a_known_error(answers: list[tuple[int, int, bytes]]) -> None:
    said = [packet(*answer) for answer in answers]
    for action in (
        lambda session: read(session, b"/a", 0, None),
        lambda session: list_directories(session, [b"/a", b"/b"]),
        lambda session: session.stat(b"/a"),
    ):
        try:
            action(session(*said))
        except (Refused, Garbled, ConnectionLost):
            continue
