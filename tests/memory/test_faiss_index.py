"""The gate that keeps FAISS searches and changes apart. The rest is in tests/conformance/test_index.py."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from regrow.memory.faiss_index import SharedGate

WAIT_S = 10.0


def test_any_number_may_share() -> None:
    gate, meeting = SharedGate(), threading.Barrier(3)

    def share() -> None:
        with gate.shared():
            meeting.wait(WAIT_S)  # passes only when all three are inside together

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(share) for _ in range(3)]:
            done.result()


def test_who_is_alone_waits_for_sharers_and_holds_off_new_ones() -> None:
    gate, order = SharedGate(), list[str]()

    def change() -> None:
        with gate.alone():
            order.append("alone")

    def share() -> None:
        with gate.shared():
            order.append("later sharer")

    with ThreadPoolExecutor(2) as pool:
        with gate.shared():
            first = pool.submit(change)
            while not gate.claimed:
                pass
            second = pool.submit(share)
            order.append("first sharer")
        first.result()
        second.result()

    assert order == ["first sharer", "alone", "later sharer"]


def test_an_error_inside_opens_the_gate_again() -> None:
    gate = SharedGate()

    for inside in (gate.alone, gate.shared):
        with pytest.raises(ZeroDivisionError), inside():
            _ = 1 / 0

    with gate.alone():
        assert gate.claimed
    assert not gate.claimed
