"""The threads of `def` handlers: how many there are, and that none holds up the end of a program."""

from __future__ import annotations

import threading

from regrow.actors.threads import HANDLER_THREADS, HandlerThreads

PATIENCE_S = 30.0
"""How long a thread of a test that fails waits at most."""


def test_no_more_than_16_handlers_run_in_threads_at_once_and_the_next_waits_for_one() -> None:
    pool, gate, begun = HandlerThreads(), threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        begun.release()
        gate.wait(PATIENCE_S)

    held = [pool.submit(hold) for _ in range(HANDLER_THREADS + 1)]
    for _ in range(HANDLER_THREADS):
        assert begun.acquire(timeout=PATIENCE_S)

    assert HANDLER_THREADS == 16
    assert not begun.acquire(blocking=False)
    gate.set()
    assert [future.result(PATIENCE_S) for future in held] == [None] * (HANDLER_THREADS + 1)


def test_a_thread_that_is_idle_is_used_again() -> None:
    pool = HandlerThreads()
    first = pool.submit(threading.get_ident).result(PATIENCE_S)

    used = {first, *(pool.submit(threading.get_ident).result(PATIENCE_S) for _ in range(50))}

    # The thread may say that it is idle just after the next call was handed in; that costs one more of them.
    assert len(used) <= 2


def test_what_is_cancelled_before_a_thread_is_free_does_not_run() -> None:
    pool, gate, ran = HandlerThreads(1), threading.Event(), list[int]()
    first = pool.submit(gate.wait, PATIENCE_S)
    second = pool.submit(ran.append, 2)
    third = pool.submit(ran.append, 3)

    assert second.cancel()
    gate.set()
    first.result(PATIENCE_S)
    third.result(PATIENCE_S)

    assert ran == [3]


def test_what_a_call_raises_reaches_whoever_waits_and_the_thread_serves_on() -> None:
    pool = HandlerThreads(1)

    failed = pool.submit(int, "no number").exception(PATIENCE_S)

    assert isinstance(failed, ValueError)
    assert pool.submit(int, "7").result(PATIENCE_S) == 7


def test_no_thread_of_a_handler_is_waited_for_at_the_end_of_the_program() -> None:
    pool = HandlerThreads()

    assert pool.submit(lambda: threading.current_thread().daemon).result(PATIENCE_S)
