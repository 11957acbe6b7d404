"""What the page of an app is told: rows of what is opened, counts of what is closed, and changes alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.cluster.observer_frames import TREE, changes, frame_of, kind_of
from regrow.cluster.observer_news import NEWS_AT_ONCE, news_between, news_of_app
from regrow.cluster.observer_tree import (
    OPENED_LIMIT,
    ROWS_LIMIT,
    SHOWN,
    SHOWN_LIMIT,
    Forest,
    View,
    opened_at_first,
    rows_of,
)
from regrow.cluster.observer_watch import PAUSE_LIMIT_S, TREE_EVERY_S, Seen, pause_s

CROWD = 10_000


def node(id: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A node as the order `tree` tells it; one with children is a supervisor."""
    told = {
        "id": id,
        "kind": "supervisor" if children else "worker",
        "state": "running",
        "incarnation": 1,
        "mailbox": 0,
        "restarts": 0,
        "pid": 7,
        "host": "h",
        "node": "n",
        "last_reason": "",
        "restart": "permanent",
        "strategy": "one_for_one" if children else "",
        "intensity": "3 in 5 s" if children else "",
        "children": list(children),
    }
    return {**told, **fields}


def crowd(**of_first: Any) -> Forest:
    """One supervisor of ten thousand agents."""
    agents = [node("desk/pool/0", **of_first), *(node(f"desk/pool/{number}") for number in range(1, CROWD))]
    return Forest.of([node("desk", node("desk/pool", *agents))])


def test_a_supervisor_that_is_closed_is_told_as_the_counts_of_all_below_it() -> None:
    forest = Forest.of(
        [node("desk", node("desk/a", node("desk/a/1", mailbox=2, restarts=1), node("desk/a/2", state="restarting")))]
    )

    rows = rows_of(forest, View(opened=frozenset({"desk"})))

    assert list(rows) == ["desk", "desk/a"]
    told = {"agents": 2, "mailbox": 2, "restarts": 1, "states": {"restarting": 1, "running": 1}}
    assert rows["desk/a"]["below"] == rows["desk"]["below"] == told


def test_of_a_crowd_as_many_are_shown_as_somebody_wants_and_the_rest_is_a_number() -> None:
    forest = crowd()

    closed = rows_of(forest, View())
    opened = rows_of(forest, View(opened=frozenset({"desk", "desk/pool"})))
    more = rows_of(forest, View(opened=frozenset({"desk", "desk/pool"}), shown=300))

    assert list(closed) == ["desk", "desk/pool"]
    assert (len(opened), opened["desk/pool"]["more"]) == (2 + SHOWN, CROWD - SHOWN)
    assert len(more) == 302


def test_a_page_that_opens_all_it_may_is_told_no_more_rows_than_it_can_draw() -> None:
    pools = [
        node(f"desk/{pool}", *(node(f"desk/{pool}/{number}") for number in range(100)))
        for pool in range(OPENED_LIMIT - 1)
    ]
    opened = frozenset({"desk", *(pool["id"] for pool in pools)})

    rows = rows_of(Forest.of([node("desk", *pools)]), View(opened=opened, shown=SHOWN_LIMIT))

    assert len(rows) == ROWS_LIMIT
    assert len(rows) + sum(row.get("more", 0) for row in rows.values()) == 1 + len(pools) * 101


def test_supervisors_are_open_at_first_from_the_top_down_as_far_as_they_are_small() -> None:
    small = node("desk/small", node("desk/small/1"))
    large = node("desk/large", *(node(f"desk/large/{number}") for number in range(100)))

    assert opened_at_first(Forest.of([node("desk", large, small)])) == {"desk", "desk/small"}


def test_whoever_looks_for_an_agent_sees_those_whose_ids_hold_the_text() -> None:
    rows = rows_of(crowd(), View(find="POOL/77"))

    assert len(rows) == 100
    assert all("pool/77" in id for id in rows)


def test_a_mailbox_that_moves_among_ten_thousand_costs_some_bytes() -> None:
    view = View(opened=frozenset({"desk", "desk/pool"}))
    before, after = (frame_of(Seen(forest=crowd(mailbox=depth)), view, may_act=False) for depth in (1, 2))

    told = changes(before, after)

    assert told[TREE]["rows"]["desk/pool/0"] == {"mailbox": 2}
    assert len(json.dumps(told)) < 500
    assert changes(after, after) == {}


ROWS = st.dictionaries(st.sampled_from("abcdef"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2)))
FRAMES = st.builds(
    lambda rows, parts: {**parts, TREE: rows}, ROWS, st.dictionaries(st.sampled_from("pq"), st.integers(0, 2))
)


@given(frames=st.lists(FRAMES, min_size=1, max_size=6))
def test_whoever_puts_all_changes_together_has_the_last_frame(frames: list[dict[str, Any]]) -> None:
    parts: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    order: list[str] = []
    before = None
    for frame in frames:
        told = changes(before, frame)
        tree = told.pop(TREE, {})
        parts |= told
        for id, fields in tree.get("rows", {}).items():
            rows[id] = {**rows.get(id, {}), **fields}
        for id in tree.get("gone", ()):
            del rows[id]
        order = tree.get("order", order)
        before = frame

    last = frames[-1]
    assert order == list(last[TREE])
    assert {id: {name: value for name, value in row.items() if value is not None} for id, row in rows.items()} == last[
        TREE
    ]
    assert {name: parts[name] for name in last if name != TREE} == {k: v for k, v in last.items() if k != TREE}


def test_what_people_and_models_say_is_told_to_those_who_may_act_alone() -> None:
    row = {"id": "desk/a@1", "agent": "desk/a", "call": {"tool": "pay", "arguments": '{"to": "Ann"}'}}
    seen = Seen(parts={"waits": {"rows": [row], "more": False}})

    stranger, owner = (frame_of(seen, View(), may_act=may_act) for may_act in (False, True))

    assert stranger["waits"]["rows"][0]["call"] == {"tool": "pay", "arguments": "", "whole": False}
    assert owner["waits"]["rows"][0]["call"] == {"tool": "pay", "arguments": '{"to": "Ann"}', "whole": True}


def test_no_page_is_told_in_which_folder_the_data_of_an_app_lies() -> None:
    seen = Seen(parts={"app": {"app": "desk", "state": "running", "data_dir": "/home/ada/desk/.regrow/desk"}})

    for may_act in (False, True):
        assert frame_of(seen, View(), may_act=may_act)["app"] == {"app": "desk", "state": "running"}


def test_texts_of_errors_are_told_to_those_who_may_act_alone() -> None:
    said = "KeyError: Ann Example"
    seen = Seen(
        forest=Forest.of([node("desk", node("desk/a", last_reason=said))]),
        parts={"news": [{"at": "now", "agent": "desk/a", "what": "lives again as #2", "why": said}]},
    )

    stranger, owner = (frame_of(seen, View(), may_act=may_act) for may_act in (False, True))

    assert (stranger[TREE]["desk/a"]["reason"], stranger["news"][0]["why"]) == ("KeyError", "KeyError")
    assert (owner[TREE]["desk/a"]["reason"], owner["news"][0]["why"]) == (said, said)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("", ""),
        ("Killed (Ann did it)", "Killed"),
        ("Escalated: desk/Ann ended 4 times, which is too often (KeyError: Ann)", "Escalated"),
        ("my.Wrong: Ann", "my.Wrong"),
        ("Ann Example", "Ann"),
    ],
)
def test_of_a_reason_strangers_are_told_its_kind(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def consented(arguments: str) -> dict[str, Any]:
    """What somebody who may act is told of a call with these arguments."""
    row = {"id": "desk/a@1", "agent": "desk/a", "call": {"tool": "pay", "arguments": arguments}}
    (told,) = frame_of(Seen(parts={"waits": {"rows": [row], "more": False}}), View(), may_act=True)["waits"]["rows"]
    call: dict[str, Any] = told["call"]
    return call


@pytest.mark.parametrize("arguments", [json.dumps({"to": "x" * 20_000}), "(too large to be shown)"])
def test_nobody_is_asked_to_consent_to_what_is_not_shown_whole(arguments: str) -> None:
    assert not consented(arguments)["whole"]


def test_nothing_in_what_somebody_consents_to_is_invisible_or_turned_round() -> None:
    call = consented(json.dumps({"to": "Ann\u202e\u200b", "in": "Köln"}, ensure_ascii=False))

    assert call["arguments"] == '{"to": "Ann\\u202e\\u200b", "in": "Köln"}'
    assert json.loads(call["arguments"]) == {"to": "Ann\u202e\u200b", "in": "Köln"}


# ---- what has happened ---------------------------------------------------------------------------


def happened(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, str]]:
    news = news_between(Forest.of([before]), Forest.of([after]), at="now")
    return [(each["agent"], each["what"], each["why"]) for each in news]


def test_a_restart_is_told_with_why_the_life_before_ended() -> None:
    before = node("desk", node("desk/a"), node("desk/b"))
    after = node("desk", node("desk/a", incarnation=2, last_reason="Killed"), node("desk/b", mailbox=3))

    assert happened(before, after) == [("desk/a", "lives again as #2", "Killed")]


def test_an_agent_that_does_not_come_back_is_told_by_its_state_or_as_gone() -> None:
    before = node("desk", node("desk/a"), node("desk/b", restart="temporary"), node("desk/c"), node("desk/d"))
    after = node(
        "desk",
        node("desk/a", state="restarting", last_reason="ValueError: no"),
        node("desk/c", state="stopped", last_reason="Shutdown"),
        node("desk/d", state="finished", last_reason="Normal"),
    )

    assert happened(before, after) == [
        ("desk/a", "is restarting", "ValueError: no"),
        ("desk/c", "was stopped", "Shutdown"),
        ("desk/d", "has finished", "Normal"),
        ("desk/b", "is gone", ""),
    ]


def test_agents_with_keys_come_and_go_without_a_word() -> None:
    before = node("desk", node("desk/clerks", node("desk/clerks/7")))
    after = node("desk", node("desk/clerks", node("desk/clerks/8")))

    assert happened(before, after) == []


def test_of_a_thousand_deaths_at_once_some_are_told_and_the_rest_is_a_number() -> None:
    before, after = (
        node("desk", *(node(f"desk/{number}", incarnation=life) for number in range(1_000))) for life in (1, 2)
    )

    told = happened(before, after)

    assert len(told) == NEWS_AT_ONCE + 1
    assert told[-1][1] == "and 950 more at once"


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (None, 7, None),
        (7, 7, None),
        (7, 0, "has ended"),
        (0, 8, "runs as process 8"),
        (7, 8, "runs anew as process 8"),
    ],
)
def test_the_end_and_the_next_start_of_an_app_are_told(before: int | None, after: int, what: str | None) -> None:
    told = news_of_app({"app": "desk", "pid": before}, {"app": "desk", "pid": after}, at="now")

    assert [each["what"] for each in told] == ([what] if what else [])


# ---- how often an app is looked at ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("took_s", "nodes", "pause"),
    [
        ([0.01], 10, TREE_EVERY_S),
        ([0.4, 0.3, 0.5], 10, TREE_EVERY_S),  # it waited for others: ten agents cost nobody so much
        ([0.4, 0.3, 0.5], CROWD, 1.2),
        ([0.4], 0, TREE_EVERY_S),  # nothing has been seen yet
        ([60.0], CROWD, PAUSE_LIMIT_S),
    ],
)
def test_after_a_look_an_app_has_four_times_its_cost_in_peace(took_s: list[float], nodes: int, pause: float) -> None:
    assert pause_s(TREE_EVERY_S, took_s, nodes=nodes) == pytest.approx(pause)
