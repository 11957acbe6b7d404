"""What a chaos run asks of its command line, and when it fails itself."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from chaos import result_of, run_of, troubles
from chaos_faults import Fault, FaultLog
from chaos_plans import NEEDED_IN_WINDOW, NEEDED_KINDS, Kind, Window, deck
from history import Event, EventType
from history_checker import judged

INVOKE = Event(type=EventType.INVOKE, process="one", agent="a", command="c", number=1)
CLEAN = judged(
    [
        INVOKE,
        replace(INVOKE, type=EventType.OK, position=1, epoch=1),
        Event(type=EventType.STATE, agent="a", position=1),
    ],
    [],
)


def log_of_a_deck() -> FaultLog:
    """A log of a run that has done what it should."""
    return FaultLog(
        [
            Fault(kind=plan.kind, agent=plan.agent, at_s=0.0, window=plan.window, recover_ms=float(n))
            for n, plan in enumerate(deck(random.Random(1)))
        ]
    )


def test_a_deck_has_a_hundred_faults_of_all_kinds_and_enough_in_each_window() -> None:
    plans = deck(random.Random(7))

    assert len(plans) >= 100
    assert {plan.kind for plan in plans} == set(Kind)
    assert len(Kind) >= NEEDED_KINDS
    windows = Counter(plan.window for plan in plans)
    assert all(windows[window] >= NEEDED_IN_WINDOW for window in Window)


def test_a_run_that_has_shown_all_passes_and_tells_its_figures() -> None:
    log = log_of_a_deck()

    assert troubles(CLEAN, log) == []
    told = result_of(CLEAN, log)
    keys = ("acked", "lost", "doubled", "indeterminate", "faults", "kinds", "recover_ms_p50", "recover_ms_p99")
    assert all(isinstance(told[key], int | float) for key in (*keys, "orphans"))


@pytest.mark.parametrize("window", list(Window))
def test_a_run_that_has_not_hit_a_window_often_enough_fails_itself(window: Window) -> None:
    log = log_of_a_deck()

    log.faults = [fault for fault in log.faults if fault.window is not window]

    assert [text for text in troubles(CLEAN, log) if window in text]


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
