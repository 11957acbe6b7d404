"""The runs on which guards are measured: what made them up is apart from what judges them, and files are checked."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import guards
import pytest
from guard_events import NoTrace, read_runs, written
from guard_judge import stopped, tally
from guard_lists import HELD_OUT, SEEN
from guard_retries import HELD_OUT as RETRIES_HELD_OUT

BENCHMARKS = Path(guards.__file__).parent
MADE_UP_BY = (
    "guard_shapes",
    "guard_noisy",
    "guard_circles",
    "guard_work",
    "guard_deeds",
    "guard_retries",
    "guard_lists",
    "guard_events",
)


@pytest.mark.parametrize("name", MADE_UP_BY)
def test_what_makes_runs_up_knows_nothing_of_regrow(name: str) -> None:
    tree = ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))
    imported = {
        each.module or "" if isinstance(each, ast.ImportFrom) else alias.name
        for each in ast.walk(tree)
        if isinstance(each, ast.Import | ast.ImportFrom)
        for alias in each.names
    }

    assert not {each for each in imported if each.partition(".")[0] in ("regrow", "guard_judge")}


def test_no_shape_is_both_seen_and_held_out() -> None:
    assert not {shape for shape, _ in SEEN} & {shape for shape, _ in HELD_OUT}


def test_a_seed_gives_the_same_runs_and_another_one_others() -> None:
    one, again, other = (guards.loops(HELD_OUT, 10, seed) for seed in (1, 1, 2))

    assert [run.events for run in one] == [run.events for run in again]
    assert [run.events for run in one] != [run.events for run in other]


def test_runs_that_were_written_are_read_and_judged_alike(tmp_path: Path) -> None:
    runs = [*guards.loops(HELD_OUT, 20, 5), *guards.retries(RETRIES_HELD_OUT, 20, 5)]
    (tmp_path / "runs.jsonl").write_text(written(runs), encoding="utf-8")

    read = read_runs(tmp_path / "runs.jsonl")

    assert [stopped(run) for run in read] == [stopped(run) for run in runs]
    assert Counter((run.of, run.runaway) for run in read) == dict.fromkeys(
        [("loop", True), ("loop", False), ("retry", True), ("retry", False)], 20
    )


def test_a_call_in_a_file_may_say_in_which_state_it_was_made(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = []
    for name in ("stays", "packs"):
        lines.append({"run": name, "kind": "label", "of": "loop", "runaway": name == "stays"})
    for at, left in enumerate("abcdefghijklmnopqrst"):
        call = {"kind": "call", "agent": "desk/a", "tool": "look", "arguments": {"at": "x"}, "outcome": "0", "at": at}
        lines.append({**call, "run": "stays", "state": {"left": ""}})
        lines.append({**call, "run": "packs", "state": {"left": left}})
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    stays, packs = read_runs(tmp_path / "runs.jsonl")

    found = stopped(stays)
    assert found is not None and found.at == 4
    assert stopped(packs) is None


def test_a_tally_counts_what_was_stopped_rightly_wrongly_and_not_at_all() -> None:
    runs = guards.loops(SEEN, 12, 3)
    for run in runs[:3]:
        run.runaway = False
    for run in runs[-2:]:
        run.runaway = True

    found = tally(runs)

    assert (found["runaways"], found["recall"]) == (11, 9 / 11)
    assert (found["benign"], found["false_alarms"]) == (13, 3 / 13)


@pytest.mark.slow
def test_the_goals_are_reached_on_shapes_that_were_put_aside_with_a_seed_of_no_figure() -> None:
    found = tally(guards.loops(HELD_OUT, 76, 4_711))

    assert found["recall"] >= 0.95
    assert found["false_alarms"] <= 0.02  # one of 76 is more than the goal of 0.01


LABEL = json.dumps({"run": "1", "kind": "label", "of": "loop", "runaway": True})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no run"),
        ("{", "runs.jsonl:1 is no JSON"),
        ("[]", "runs.jsonl:1 is '\\[\\]'; give an object with a run and a kind of label, turn, call"),
        ('{"run": "1", "kind": "what"}', "give an object with a run and a kind"),
        (f'{LABEL}\n{{"run": "1", "kind": "turn", "id": 4}}', "runs.jsonl:2: a turn needs 'id', and it is 4"),
        ('{"run": "1", "kind": "label", "of": "all", "runaway": true}', '"of" is \'all\'; give "loop" or "retry"'),
        (
            '{"run": "7", "kind": "call", "agent": "a", "tool": "t", "at": 1}',
            "run '7' has no line of kind label, which says whether it is a runaway",
        ),
    ],
)
def test_a_file_that_is_none_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "runs.jsonl").write_text(text, encoding="utf-8")

    with pytest.raises(NoTrace, match=said):
        read_runs(tmp_path / "runs.jsonl")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoTrace, match=r"none\.jsonl can not be read"):
        read_runs(tmp_path / "none.jsonl")
