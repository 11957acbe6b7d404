"""Our supervisors do what OTP's own supervisor does (SEMANTICS 2), and the comparison can fail."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.oracle.compare import ALL, Comparer, Rule
from tests.oracle.otp import Otp
from tests.oracle.ours import run_ours
from tests.oracle.run import Figures, compare_many
from tests.oracle.trace import DYNAMIC, Admin, Event, Exit, Fail, Kid, Sup, Together, Trace

CI_TRACES = 500
CI_SEED = 2028


@pytest.mark.slow
@pytest.mark.again  # what it has found has tests of its own
def test_supervisors_do_what_otp_does(otp: Otp) -> None:
    figures = compare_many(otp, CI_TRACES, seed_number=CI_SEED)

    assert not figures.differences, figures.differences[0]
    assert figures.traces == CI_TRACES
    assert figures.effective > 2 * CI_TRACES
    assert {rule for rule in Rule if figures.rules[rule]} == ALL, "a rule that is never used is not tested"


def test_figures_are_one_line_of_json() -> None:
    figures = Figures("25.2.3", traces=3, rules=Counter({Rule.ORPHANS: 2}))

    told = json.loads(figures.as_json())

    assert (told["traces"], told["differences"], told["rules"]["orphans"]) == (3, 0, 2)


# ---- every deviation is real -------------------------------------------------------------------

PAIR = (Kid("a"), Kid("b"))
ONE = (Kid("x"),)

DEVIATIONS: list[tuple[Rule, Sup, tuple[Event, ...]]] = [
    (Rule.ESCALATED, Sup(PAIR, max_restarts=0), (Exit("a", "error"),)),
    (
        Rule.ESCALATED_TRANSIENT,
        Sup((Kid("s", Sup(ONE, max_restarts=0), "transient"),)),
        (Exit("s/x", "error"),),
    ),
    (Rule.OPERATORS_STOP, Sup(PAIR, "one_for_all"), (Admin("stop", "b"), Exit("a", "error"))),
    (Rule.EXITS_OVERTAKE, Sup(PAIR), (Together("", (Admin("stop", "b"), Exit("a", "error"))),)),
    (
        Rule.EXITS_OVERTAKE,
        Sup((*PAIR, Kid("c"))),
        (Fail("a", (Exit("b", "error"),)), Together("", (Exit("a", "error"), Admin("stop", "c")))),
    ),
    (Rule.SHUTDOWN_DEFAULT, Sup(PAIR), (Admin("spec", "a"),)),
    (Rule.CHILD_RUNNING, Sup(PAIR), (Fail("a", (Admin("delete", "a"),)), Exit("a", "error"))),
    (Rule.AT_ONCE, Sup(ONE, DYNAMIC), tuple(Admin("start", str(n)) for n in range(1, 40))),
    (
        Rule.MISCOUNT,
        Sup(ONE, DYNAMIC),
        (Admin("start", "1"), Admin("start", "2"), Fail("1", (Admin("stop", "1"),)), Exit("1", "error")),
    ),
    (Rule.ORPHANS, Sup((Kid("s", Sup(PAIR)),)), (Exit("s", "kill"),)),
]


@pytest.mark.parametrize(
    ("rule", "tree", "events"),
    DEVIATIONS,
    ids=[f"{rule.name.lower()}-{number}" for number, (rule, *_) in enumerate(DEVIATIONS)],
)
def test_each_deviation_is_excused_by_its_rule_and_by_no_other(
    otp: Otp, rule: Rule, tree: Sup, events: tuple[Event, ...]
) -> None:
    trace = Trace(tree, events)
    strict = Comparer(ALL - {rule})
    as_it_is = otp.run(
        trace,
        hold=rule is not Rule.OPERATORS_STOP,
        escalate=rule is not Rule.ESCALATED_TRANSIENT,
        overtake=rule is not Rule.EXITS_OVERTAKE,
    )

    assert strict.difference(as_it_is, run_ours(trace)) is not None
    comparer = Comparer()
    assert comparer.difference(otp.run(trace), run_ours(trace)) is None
    assert comparer.used[rule]
