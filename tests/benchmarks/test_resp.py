"""Calls and replies of Redis' protocol are cut where they end, however they come."""

from __future__ import annotations

import pytest
from resp import Frames, NotResp, parts

from regrow.cluster.journal_scripts import framed

VALUES = (
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$4\r\na\r\nb\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
    framed(b"EVALSHA", b"0" * 40, b"1", b"a key", b"\r\n$3\r\n"),
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_values_are_cut_where_they_end_in_whatever_pieces_they_come(size: int) -> None:
    stream = b"".join(VALUES)
    frames = Frames()

    found = [each for at in range(0, len(stream), size) for each in frames.feed(stream[at : at + size])]

    assert found == list(VALUES)


def test_the_words_of_a_call_are_told() -> None:
    words = [b"SET", b"a key", b"", b"\r\n*1\r\n"]

    assert parts(framed(*words)) == words


def test_what_is_of_another_protocol_is_refused() -> None:
    with pytest.raises(NotResp, match="GET /"):
        Frames().feed(b"GET / HTTP/1.1\r\n")
