"""Whether what an agent has changed in its state between two like calls is progress (decision 0046)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from regrow.runtime.guards import Guards, Rung
from regrow.runtime.likeness import STATELESS, likenesses, state_likenesses
from regrow.runtime.run_store import KEPT_CALLS, CallNote
from regrow.supervisors.outcome import tone
from regrow.supervisors.repeats import repeated

END = 5
GUARDS = Guards(repeats_end=END)
ITEMS = ("rice", "milk", "salt", "bread", "tea", "plums", "oil", "eggs", "leek", "oats", "figs", "kale")

NEXT: tuple[str, object, object] = ("press", {"button": "next"}, "ok")
SEARCH: tuple[str, object, object] = ("search", {"q": "x"}, "0 found")
SAVE: tuple[str, object, object] = ("save_draft_of_report", {"to": "finance and to everybody who has asked"}, "saved")
FAILS: tuple[str, object, object] = ("fetch", {"url": "the page of somebody"}, "error: refused")


def id_of(at: int) -> str:
    """What somebody makes up by chance."""
    return f"a{(at + 1) * 0x9E3779B97F4A7C15 % 2**96:024x}"


def stopped_at(call: tuple[str, object, object], state: Callable[[int], object], *, calls: int) -> int | None:
    """At which of so many like calls, counted from 1, an agent is refused that is in these states before them."""
    tool, arguments, outcome = call
    what, came, of_tone = likenesses(arguments, of=tool), likenesses(outcome, is_result=True), tone(*call)
    notes: list[CallNote] = []
    for at in range(calls):
        seen = state_likenesses(state(at))
        found = repeated("desk/a", tool, what, notes[-KEPT_CALLS:], float(at), GUARDS, state=seen)
        if found is not None and found.rung is Rung.REFUSE:
            return at + 1
        notes.append(CallNote(id=str(at), what=what, outcome=came, state=seen, tone=of_tone, at_s=float(at)))
    return None


@pytest.mark.parametrize("call", [NEXT, SEARCH, SAVE, FAILS])
@pytest.mark.parametrize(
    "state",
    [
        lambda at: {"left": [f"{each} {name}" for each in ITEMS for name in ITEMS][at:]},
        lambda at: {"at": f"{ITEMS[at % 12]} of {ITEMS[at // 12]}"},
        lambda at: {"done": {f"{ITEMS[at % 12]} of {ITEMS[at // 12]}": True}},
        lambda at: {"done": [f"item {each}" for each in range(at)]},
        lambda at: {"left": [id_of(each) for each in range(at, 150)]},
        lambda at: {"book": "It is said that. " * 10_000, "read_up_to": f"{'It is said that. ' * 5_000}{id_of(at)}"},
    ],
)
def test_who_takes_one_thing_after_the_other_off_a_list_of_its_own_may_do_the_same_for_each(
    call: tuple[str, object, object], state: Callable[[int], object]
) -> None:
    assert stopped_at(call, state, calls=100) is None


@pytest.mark.parametrize(
    ("call", "state", "limit"),
    [
        (SEARCH, lambda at: {"name": "a"}, END),
        (SEARCH, lambda at: {"asked_at": 1_764_000_001 + 61 * at, "name": "a"}, 2 * END),
        (SEARCH, lambda at: {"last": id_of(at), "name": "a"}, 2 * END),
        (SAVE, lambda at: {"last": id_of(at), "name": "a"}, 2 * END),
        (NEXT, lambda at: {"last": id_of(at), "name": "a"}, 3 * END),
        (NEXT, lambda at: {"turns": at}, 7 * END),
        (SEARCH, lambda at: {"turns": at}, 7 * END),
        (SAVE, lambda at: {"turns": at}, 7 * END),
        (FAILS, lambda at: {"turns": at}, 3 * END),
        (SEARCH, lambda at: {"history": [{"called": "search", "gave": "0 found"}] * (at + 1)}, 7 * END),
        (SEARCH, lambda at: {"history": [{"id": id_of(each), "gave": "0 found"} for each in range(at + 1)]}, 7 * END),
        (SEARCH, lambda at: {"log": ["begun", *["searched", "nothing"] * (at + 1)]}, 7 * END),
    ],
)
def test_a_state_in_which_only_a_clock_a_counter_or_a_history_of_the_same_moves_costs_rounds_and_hides_nothing(
    call: tuple[str, object, object], state: Callable[[int], object], limit: int
) -> None:
    assert stopped_at(call, state, calls=64) == limit


def test_a_state_that_has_changed_before_and_stands_still_now_hides_nothing() -> None:
    assert stopped_at(SEARCH, lambda at: {"left": ITEMS[at:]}, calls=64) == len(ITEMS) + END


def test_what_is_found_says_what_moved() -> None:
    what, came = likenesses({"q": "x"}, of="search"), likenesses("0 found", is_result=True)
    states = [state_likenesses({"turns": at}) for at in range(40)]
    notes = [
        CallNote(id=str(at), what=what, outcome=came, state=each, at_s=float(at)) for at, each in enumerate(states)
    ]

    moved = repeated("desk/a", "search", what, notes, 40.0, GUARDS, state=state_likenesses({"turns": 40}))
    still = repeated("desk/a", "search", what, notes[:1] * 9, 40.0, GUARDS, state=states[0])

    assert moved is not None and "the same each time, and of its state only numbers have changed" in moved.text
    assert still is not None and "the same each time (repeats_end=5)" in still.text
    assert state_likenesses(None) != STATELESS
