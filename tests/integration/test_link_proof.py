"""The link on real Ray while a fifth of all requests and replies is lost and one of 50 receivers never reads.

`link_proof.py` runs as a program of its own. Here it sends few messages, and Ray is told to notice lost calls soon, or
it would spend a minute on the loss of its own calls; the whole proof, at Ray's own pace, takes minutes and is

    LINK_MESSAGES=100000 pytest tests/integration/test_link_proof.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.drivers import driver

pytestmark = [pytest.mark.slow, pytest.mark.ray]

PROGRAM = Path(__file__).with_name("link_proof.py")

MESSAGES = int(os.environ.get("LINK_MESSAGES", "6000"))
IS_WHOLE = MESSAGES >= 100_000

ROUNDS = 5 if IS_WHOLE else 1
"""Of each kind: everybody reads, and all but one do."""

WITHIN_S = 1_800.0 if IS_WHOLE else 240.0
"""Until it has ended; a failure of the link would be one that never ends."""

RATIO = 2.0 if IS_WHOLE else 8.0
"""How much later than in a quiet round the others' slowest hundredth may be. Of so few messages that hundredth is
what the longest streak of lost calls held up, in one round thrice as long as in the next, whoever reads. Were the
others to wait for the one that does not, they would wait until its senders give up, and for each message anew."""

CAPACITY = 1_000
"""Of the mailboxes of those that read."""


@pytest.mark.again
@pytest.mark.alone
def test_a_fifth_of_all_calls_lost_and_one_that_never_reads_cost_no_message_and_delay_nobody_else() -> None:
    files = {PROGRAM.name: PROGRAM.read_text(encoding="utf-8")}
    pace = () if IS_WHOLE else ("--noticed-ms=100",)
    with driver(files, PROGRAM.name, f"--messages={MESSAGES}", f"--rounds={ROUNDS}", *pace) as program:
        assert program.wait_end(within_s=WITHIN_S) == 0, program.said
        figures: dict[str, Any] = json.loads(program.said.splitlines()[-1])

    for one in (*figures["quiet"], *figures["stuck"]):
        wrong = {name: one[name] for name in ("lost", "doubled", "inverted", "strange") if one[name]}
        assert wrong == {}, one
        assert one["deepest"] <= CAPACITY
        assert one["lost_calls"] > 0
        assert one["accepted"] + one["refused"] == one["sent"] == MESSAGES // ROUNDS
    assert all(one["most_unread"] == figures["bound"] for one in figures["stuck"])
    assert all(one["refused"] == 0 for one in figures["quiet"])
    assert figures["latency_p99_ratio"] <= RATIO, figures
