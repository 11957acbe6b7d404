"""Traces on which the two sides once differed, as small as hypothesis made them."""

from __future__ import annotations

import pytest

from tests.oracle.generate import RUNS_OUT_S, SLOW_S
from tests.oracle.otp import Otp
from tests.oracle.run import compare
from tests.oracle.trace import DYNAMIC, Admin, Advance, Event, Exit, Fail, Kid, Sup, Together, Trace

ONE = (Kid("a"),)
TWO = (Kid("a"), Kid("b"))
THREE = (Kid("a"), Kid("b"), Kid("c"))

A_POOL = Sup((Kid("w"),), DYNAMIC)

FOUND: dict[str, Trace] = {
    "stop_child never returned when the child was started again at once": Trace(
        Sup(ONE), (Together("", (Admin("stop", "a"), Admin("restart", "a"))),)
    ),
    "start_child called a child that waits for its restart started": Trace(
        Sup(ONE), (Fail("a", (Admin("start", "a", Kid("a")),)), Exit("a", "error"))
    ),
    "stopping a child that fails to start cost a restart of those behind it": Trace(
        Sup(TWO, "rest_for_one", max_restarts=1), (Fail("a", (Admin("stop", "a"),)), Exit("a", "error"))
    ),
    "restart_child refused a child that waits for another to start": Trace(
        Sup(TWO, "rest_for_one"), (Fail("a", (Admin("restart", "b"),)), Exit("a", "error"))
    ),
    "significant children that wait for another kept their supervisor alive": Trace(
        Sup(
            (
                Kid("a", restart="transient", significant=True),
                Kid("b"),
                Kid("c", restart="transient", significant=True),
            ),
            "rest_for_one",
            auto_shutdown="all_significant",
        ),
        (Fail("b", (Exit("a", "normal"),)), Exit("b", "error")),
    ),
    "a second failure moved the retry behind calls that came after it": Trace(
        Sup(THREE, "one_for_all", max_restarts=4),
        (Fail("b", (Exit("a", "kill"), Admin("stop", "c"))), Exit("a", "error")),
    ),
    "an exit overtook a retry that was in the mailbox before it": Trace(
        Sup((Kid("a"), Kid("b", target="stubborn", shutdown_s=0.001), Kid("c")), "rest_for_one", max_restarts=4),
        (Fail("c", (None, Exit("a", "error"), Exit("a", "error"))), Exit("b", "error")),
    ),
    "a call that waited in the mailbox of a pool was answered by the pool's next life": Trace(
        Sup((Kid("a", target=Sup((Kid("w"),), DYNAMIC, max_restarts=1, within_s=2)),)),
        (
            Admin("start", "a/1"),
            Admin("start", "a/2"),
            Together("a", (Exit("a/1", "error"), Exit("a/2", "normal"), Admin("restart", "a/2"))),
        ),
    ),
    "a call for a supervisor came to a worker that had taken its name": Trace(
        Sup((Kid("a", target=Sup(ONE), restart="temporary"),)),
        (Exit("a", "kill"), Admin("start", "a", Kid("a")), Together("a", (Admin("restart", "a/b"),))),
    ),
    "a stop of a life that was over stopped the next one": Trace(
        A_POOL, (Admin("start", "1"), Together("", (Exit("1", "kill"), Admin("stop", "1"))))
    ),
}

EDGES: dict[str, tuple[int, tuple[Event, ...]]] = {
    "the edge of the window counts": (1, (Exit("a", "error"), Advance(5), Exit("a", "error"))),
    "one second past it does not": (1, (Exit("a", "error"), Advance(6), Exit("a", "error"))),
    "retries count": (2, (Fail("a", (None, None)), Exit("a", "error"))),
    "the next event finds the window of this one": (
        2,
        (Fail("a", (None,)), Exit("a", "error"), Advance(5), Exit("b", "kill")),
    ),
}


DEAF = Kid("b", "stubborn", shutdown_s=SLOW_S)
"""Does not hear, for longer than those above it may take."""

A_BRANCH = Sup((Kid("a"), DEAF, Kid("c")), max_restarts=0)

RUN_OUT: dict[str, Trace] = {
    "of a supervisor that an operator stops": Trace(
        Sup((Kid("s", A_BRANCH, shutdown_s=RUNS_OUT_S[2]),)), (Admin("stop", "s"), Admin("restart", "s"))
    ),
    "of one that is stopped with its siblings": Trace(
        Sup((Kid("x"), Kid("s", A_BRANCH, shutdown_s=RUNS_OUT_S[2]), Kid("y")), "one_for_all"), (Exit("x", "error"),)
    ),
    "of the inner of two that are stopped": Trace(
        Sup((Kid("t", Sup((Kid("x"), Kid("s", A_BRANCH, shutdown_s=RUNS_OUT_S[3]), Kid("y")))),)), (Admin("stop", "t"),)
    ),
    "of the outer, while the inner has no limit": Trace(
        Sup((Kid("t", Sup((Kid("x"), Kid("s", A_BRANCH), Kid("y"))), shutdown_s=RUNS_OUT_S[2]),)), (Admin("stop", "t"),)
    ),
    "of nobody, where the end is not ordered": Trace(
        Sup((Kid("s", A_BRANCH, shutdown_s=RUNS_OUT_S[2]),)), (Exit("s/a", "error"),)
    ),
    "of each of a pool": Trace(
        Sup((Kid("p", Sup((Kid("w", A_BRANCH, shutdown_s=RUNS_OUT_S[2]),), DYNAMIC)),)),
        (Admin("start", "p/1"), Admin("start", "p/2"), Admin("stop", "p/1"), Admin("stop", "p")),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", RUN_OUT)
def test_a_limit_that_runs_out_while_children_are_stopped_ends_the_same(otp: Otp, what: str) -> None:
    assert compare(otp, RUN_OUT[what]).difference is None


@pytest.mark.parametrize("what", FOUND)
def test_what_once_differed_does_not_differ(otp: Otp, what: str) -> None:
    trace = FOUND[what]

    assert compare(otp, trace).difference is None


@pytest.mark.parametrize("what", EDGES)
def test_the_window_is_the_same_to_the_second(otp: Otp, what: str) -> None:
    max_restarts, events = EDGES[what]
    trace = Trace(Sup(TWO, max_restarts=max_restarts, within_s=5), events)

    assert compare(otp, trace).difference is None
