"""What a chaos run asks of its command line, and when it fails itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median_low

import pytest
from chaos import result_of, run_of, troubles
from chaos_late import verdict_on_late
from chaos_log import Fault, FaultLog
from chaos_plans import (
    NEEDED_FAULTS,
    NEEDED_IN_WINDOW,
    PLANS,
    TAKES_AWAY,
    Kind,
    Plan,
    Window,
    deck,
    has_rows,
    plans_for,
    says,
    verdict_in,
)
from chaos_proxy import Side
from history import Event, EventType
from history_checker import judged

INVOKE = Event(type=EventType.INVOKE, process="one", agent="a", command="c", number=1)
EVENTS = [
    INVOKE,
    replace(INVOKE, type=EventType.OK, position=1, epoch=1),
    Event(type=EventType.STATE, agent="a", position=1),
]
CLEAN = judged(EVENTS, [])


EVERYWHERE = plans_for(nodes=2, cluster=True)


def log_of_a_deck(plans: Sequence[Plan] = PLANS) -> FaultLog:
    """A log of a run that has done what it should."""
    return FaultLog(
        [
            Fault(kind=plan.kind, agent=plan.agent, at_s=0.0, window=plan.window, recover_ms=float(n))
            for n, plan in enumerate(deck(random.Random(1), plans))
        ]
    )


def test_a_deck_has_a_hundred_faults_of_all_kinds_and_enough_in_each_window() -> None:
    plans = deck(random.Random(7))

    assert len(plans) >= NEEDED_FAULTS
    assert {plan.kind for plan in plans} == set(Kind) - {Kind.NODE_KILL, Kind.NODE_STOP, Kind.NODE_CUT, Kind.SLOT_MOVE}
    windows = Counter(plan.window for plan in plans)
    assert all(windows[window] >= NEEDED_IN_WINDOW for window in Window)


def test_a_run_that_has_shown_all_passes_and_tells_its_figures() -> None:
    log = log_of_a_deck()

    assert troubles(CLEAN, log) == []
    told = result_of(CLEAN, log)
    took_ms = {
        kind: [f.recover_ms or 0.0 for f in log.faults if f.kind is kind] for kind in TAKES_AWAY & set(log.kinds())
    }
    keys = ("acked", "lost", "doubled", "indeterminate", "faults", "kinds", "recover_ms_p50", "recover_ms_p99")
    assert all(isinstance(told[key], int | float) for key in (*keys, "orphans"))
    assert told["recover_ms_p50_by_kind"] == {kind.value: median_low(took) for kind, took in took_ms.items()}


@pytest.mark.parametrize("window", list(Window))
def test_a_run_that_has_not_hit_a_window_often_enough_fails_itself(window: Window) -> None:
    log = log_of_a_deck()

    log.faults = [fault for fault in log.faults if fault.window is not window]

    assert [text for text in troubles(CLEAN, log) if window in text]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_run_in_which_a_kind_of_faults_never_happened_fails_itself(kind: Kind) -> None:
    log = log_of_a_deck(EVERYWHERE)
    assert troubles(CLEAN, log, plans=EVERYWHERE) == []

    log.faults = [fault for fault in log.faults if fault.kind is not kind]

    assert [text for text in troubles(CLEAN, log, plans=EVERYWHERE) if "never happened" in text and kind in text]


@pytest.mark.parametrize(
    ("there", "kinds"),
    [
        (plans_for(), set()),
        (plans_for(nodes=2), {Kind.NODE_KILL, Kind.NODE_STOP, Kind.NODE_CUT}),
        (plans_for(cluster=True), {Kind.SLOT_MOVE}),
    ],
)
def test_where_there_is_more_to_harm_a_deck_has_what_it_has_elsewhere_and_that(
    there: Sequence[Plan], kinds: set[Kind]
) -> None:
    assert set(PLANS) <= set(there)
    assert {plan.kind for plan in there if plan not in PLANS} == kinds


def test_a_run_with_few_faults_fails_itself() -> None:
    log = log_of_a_deck()

    log.faults = log.faults[: NEEDED_FAULTS - 1]

    assert [text for text in troubles(CLEAN, log) if f"{NEEDED_FAULTS} are needed" in text]


def test_a_long_run_fails_itself_that_has_not_shown_as_much_as_it_was_to() -> None:
    log = log_of_a_deck()

    assert troubles(CLEAN, log, acked=CLEAN.acked, faults=len(log.faults)) == []
    assert troubles(CLEAN, log, acked=50_000) == [f"{CLEAN.acked} commands were acknowledged, and 50000 are needed"]
    assert troubles(CLEAN, log, faults=1_000) == [f"{len(log.faults)} faults, and 1000 are needed"]


async def test_a_late_script_is_sent_again_while_redis_is_killed_stopped_or_loads() -> None:
    answers: list[bytes | Exception] = [
        ConnectionRefusedError(),
        TimeoutError(),
        b"",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"$13\r\n\x92\xabstale_epoch\x01\r\n",
    ]

    def send() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await verdict_on_late(send, pause_s=0) == "stale_epoch"
    assert answers == []


def test_a_run_in_which_a_dead_life_commits_fails_and_one_in_which_it_is_refused_does_not() -> None:
    log = log_of_a_deck()

    log.late_answers["stale_epoch"] += 1
    assert troubles(CLEAN, log) == []
    log.late_answers["done"] += 1

    assert [text for text in troubles(CLEAN, log) if "came late" in text]


def test_a_run_fails_of_which_too_much_is_unknown() -> None:
    unknown = replace(INVOKE, command="u", id="u")

    assert [text for text in troubles(judged([*EVENTS, unknown], []), log_of_a_deck()) if "nobody knows" in text]


def test_each_fault_behind_a_script_looks_at_what_it_did() -> None:
    for plan in deck(random.Random(7)):
        assert (plan.fits is not None) == (bool(plan.script) and plan.side is Side.AFTER), plan


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (b"$7\r\n\x94\xa4done\x01\r\n", "done"),
        (b"$14\r\n\x94\xabstale_epoch\xc2\r\n", "stale_epoch"),
        (b"$14\r\n\x94\xa9duplicate\xa4done\r\n", "duplicate"),
        (b"$13\r\n\x92\x93\xa8accepted\x01\xc2\r\n", "accepted"),
        (b"$15\r\n\xdc\x00\x10\x93\xa8accepted\x01\xc2\r\n", "accepted"),
        (b"-OOM command not allowed, nothing is done\r\n", ""),
        (b"$-1\r\n", ""),
        (b"$3\r\n\x92\xc2\xc2\r\n", ""),
    ],
)
def test_a_reply_counts_by_the_verdict_that_it_begins_with(reply: bytes, verdict: str) -> None:
    assert verdict_in(reply) == verdict
    assert says("done")(reply) == (verdict == "done")


def test_a_page_of_the_outbox_has_rows_and_an_error_has_none() -> None:
    assert has_rows(b"$12\r\n\x91\x91\x95\xa31-0\xa1a\xa1b\xa1c\xa1d\r\n")
    assert not has_rows(b"$2\r\n\x91\x90\r\n")
    assert not has_rows(b"$2\r\n\x91\x80\r\n")
    assert not has_rows(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")


def test_so_does_one_whose_quarantine_is_not_what_was_planted_or_that_left_somebody_unserved() -> None:
    log = log_of_a_deck()
    poison = replace(INVOKE, command="p", id="p", poison=True)

    assert any("in quarantine" in text for text in troubles(judged([INVOKE, poison], []), log))
    log.unserved.append("a after host_kill")
    assert any("not served again" in text for text in troubles(CLEAN, log))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--effects", "e"], "--history"),
        (["--history", "h", "--effects", "h"], "name two"),
        (["--history", "h", "--effects", "e", "--seconds", "-1"], "from 0 to"),
        (["--history", "h", "--effects", "e", "--rest", "nan"], "--rest"),
        (["--history", "h", "--effects", "e", "--acked", "-1"], "--acked -1"),
        (["--history", "h", "--effects", "e", "--nodes", "0"], "from 1 to"),
        (["--history", "no/such/folder/h", "--effects", "e"], "can not be written"),
        (["--history", "h", "--effects", "e", "--seed", "many"], "--seed"),
    ],
)
def test_bad_options_are_told_in_a_sentence_with_exit_code_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as ended:
        run_of(words)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err
