"""What `regrow top` shows and does, without an app: rates between two looks, keys, and a screenshot for the guide."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from regrow.cluster.top import (
    REFRESH_S,
    Choice,
    Key,
    Look,
    host_rates,
    ids_of,
    keys_in,
    may_go_on,
    pause_s,
    pressed,
    rates,
    rooms,
    settled,
    troubled_in,
    window,
)
from regrow.cluster.top_views import frame, why_frame, why_lines
from regrow.cluster.why import Found, deaths_of
from regrow.cluster.why_views import parts
from tests.cluster.incident_rows import death
from tests.cluster.test_cli import AGENT, ROOT

SCREENSHOT = Path(__file__).resolve().parents[2] / "docs/guides/regrow-top.svg"
IDS = ["desk/a", "desk/b", "desk/c"]
AT = datetime(2026, 11, 28, 12, 5, tzinfo=UTC)


def counts(**changes: Any) -> dict[str, Any]:
    """What one process tells."""
    return {
        "host": "desk.h1",
        "pid": 42,
        "node": "node-a",
        "alive": True,
        "agents": 2,
        "mailbox_depth": 7,
        "loop_lag_ms": 0.4,
        "turns": 100,
        "messages": 1_000,
        "restarts": {"crashed": 2},
        "dead_letters": {"crashed": 3},
        "model_calls": {"small": 4},
        "tool_calls": {"ok": 5},
        "tokens": 1_234,
        "cost_usd": 0.0123,
        "commit_ms": {"p50": None, "p99": None, "count": 0},
    } | changes


def look(at_s: float, **changes: Any) -> Look:
    """A look at an app with one process besides the guardian."""
    analyst = {**AGENT, "id": "desk/analyst", "state": "running", "restarts": 0, "last_reason": "", "mailbox": 7}
    about = {"app": "desk", "engine": "ray", "pid": 7, "state": "running", "started_at": "2026-11-28T12:00:00+00:00"}
    models = [{"model": "gpt-5-mini", "tier": "small", "calls": 4, "tokens": 1_234, "cost_usd": 0.0123}]
    metrics = {"hosts": [counts(**changes)], "total": counts(**changes), "models": models}
    return Look(at_s=at_s, about=about, tree=[{**ROOT, "children": [AGENT, analyst]}], metrics=metrics)


def drawn(before: Look | None, now: Look, choice: Choice, *, rows: int = 40, columns: int = 100) -> str:
    to = io.StringIO()
    shown = frame(before, now, choice, at=AT, rows=rows, columns=columns)
    Console(file=to, width=columns, color_system=None).print(shown)
    return to.getvalue()


def test_rates_are_what_counts_have_grown_by_in_a_second() -> None:
    grown = rates(counts(), counts(messages=1_500, tokens=1_334), seconds=2.0)

    assert (grown.messages, grown.turns, grown.tokens) == (250.0, 0.0, 50.0)


def test_a_first_look_and_a_process_that_was_not_there_have_no_rate() -> None:
    before, now = look(0.0, host="gone"), look(1.0)

    assert rates(None, counts(), seconds=1.0).messages == 0
    assert host_rates(before, now)["desk.h1"].messages == 0
    assert host_rates(None, now)["desk.h1"].messages == 0


def test_keys_are_understood_however_they_come_together() -> None:
    assert list(keys_in(b"\x1b[A\x1b[Bjk\rw\x1bq?n\x1b[6~\x1b[5~gG")) == [
        Key.UP,
        Key.DOWN,
        Key.DOWN,
        Key.UP,
        Key.OPEN,
        Key.OPEN,
        Key.BACK,
        Key.QUIT,
        Key.TROUBLE,
        Key.PAGE_DOWN,
        Key.PAGE_UP,
        Key.FIRST,
        Key.LAST,
    ]


@pytest.mark.parametrize("sequence", [b"\x1b[1;5A", b"\x1b[15~", b"\x1b[<0;3;4M", b"\x1bOP", b"\x1b[200~"])
def test_a_key_that_means_nothing_is_no_esc(sequence: bytes) -> None:
    assert list(keys_in(sequence)) == []


@pytest.mark.parametrize(
    ("typed", "is_begun"),
    [(b"\x1b", True), (b"j\x1b[", True), (b"\x1b[1;", True), (b"\x1bO", True), (b"\x1b[A", False), (b"q", False)],
)
def test_the_rest_of_a_key_is_waited_for(typed: bytes, is_begun: bool) -> None:
    assert may_go_on(typed) is is_begun


@pytest.mark.parametrize(
    ("keys", "agent"), [("", "desk/a"), ("j", "desk/b"), ("jjjjj", "desk/c"), ("jjk", "desk/b"), ("k", "desk/a")]
)
def test_up_and_down_choose_within_the_list(keys: str, agent: str) -> None:
    choice = settled(Choice(), IDS)
    for key in keys_in(keys.encode()):
        choice = pressed(choice, key, IDS)

    assert choice == Choice(agent=agent)


def test_why_is_opened_and_left_and_meanwhile_nobody_else_is_chosen() -> None:
    opened = pressed(Choice(agent="desk/b"), Key.OPEN, IDS)

    assert opened.is_open
    assert pressed(opened, Key.DOWN, IDS) == opened
    assert pressed(opened, Key.UP, IDS) == replace(opened, lines_back=1)
    assert pressed(pressed(opened, Key.PAGE_UP, IDS), Key.BACK, IDS) == Choice(agent="desk/b")
    assert settled(opened, ["desk/a"]) == opened
    assert pressed(opened, Key.BACK, IDS) == Choice(agent="desk/b")
    assert pressed(Choice(), Key.OPEN, []) == Choice()
    assert pressed(opened, Key.QUIT, IDS).is_over


def test_whoever_has_gone_is_chosen_no_longer() -> None:
    assert settled(Choice(agent="desk/x"), IDS) == Choice(agent="desk/a")
    assert settled(Choice(agent="desk/x"), []) == Choice()


@pytest.mark.parametrize(("at", "rows"), [(0, range(5)), (50, range(48, 53)), (99, range(95, 100))])
def test_rows_around_the_chosen_one_are_shown_where_there_is_no_room_for_all(at: int, rows: range) -> None:
    assert window(100, at, room=5) == rows


def test_pages_and_ends_are_a_key_away_among_ten_thousand() -> None:
    ids = [f"desk/a{number}" for number in range(10_000)]
    choice = Choice(agent="desk/a5000")

    def after(key: Key) -> str:
        return pressed(choice, key, ids).agent

    assert (after(Key.PAGE_DOWN), after(Key.PAGE_UP)) == ("desk/a5010", "desk/a4990")
    assert (after(Key.FIRST), after(Key.LAST)) == ("desk/a0", "desk/a9999")


def test_the_next_in_trouble_is_found_behind_the_chosen_one_and_from_the_top_again() -> None:
    well = {**AGENT, "state": "running", "restarts": 0}
    again, fine, ill = ({**well, "id": each} for each in IDS)
    again["restarts"], ill["state"] = 1, "restarting"
    troubled = troubled_in([{**ROOT, "restarts": 0, "state": "running", "children": [again, fine, ill]}])

    assert troubled == {"desk/a", "desk/c"}
    assert pressed(Choice(agent="desk/a"), Key.TROUBLE, IDS, troubled).agent == "desk/c"
    assert pressed(Choice(agent="desk/c"), Key.TROUBLE, IDS, troubled).agent == "desk/a"
    assert pressed(Choice(agent="desk/b"), Key.TROUBLE, IDS).agent == "desk/b"


@pytest.mark.parametrize(("rows", "columns"), [(30, 100), (24, 80), (10, 40), (5, 20)])
@pytest.mark.parametrize("hosts", [1, 25])
def test_a_frame_fits_its_terminal_and_shows_the_chosen_one_and_the_keys(rows: int, columns: int, hosts: int) -> None:
    agents = [{**AGENT, "id": f"desk/a{number}"} for number in range(500)]
    now = replace(look(1.0), tree=[{**ROOT, "children": agents}])
    many = [counts(host=f"desk.h{number}", alive=number == 24) for number in range(hosts)]
    now = replace(now, metrics={**(now.metrics or {}), "hosts": many})

    lines = drawn(None, now, Choice(agent="desk/a400"), rows=rows, columns=columns).splitlines()

    assert len(lines) <= rows
    assert max(map(len, lines)) <= columns
    assert lines[-1].startswith("↑↓")
    assert rows < 10 or any("a400" in line for line in lines)


def test_a_key_that_is_longer_than_the_window_leaves_its_state_and_counts_in_sight() -> None:
    wallet: dict[str, Any] = {**AGENT, "id": f"desk/wallet/{'k' * 180}", "mailbox": 12_345}
    now = replace(look(1.0), tree=[{**ROOT, "children": [wallet]}])

    shown = drawn(None, now, Choice(agent=wallet["id"]), rows=24, columns=80)

    (line,) = [line for line in shown.splitlines() if "kkk" in line]
    assert str(AGENT["state"]) in line
    assert "12,345" in line


def test_nothing_that_others_have_written_steers_the_terminal_or_is_markup() -> None:
    before, now = hostile(look(0.0)), hostile(look(2.0, messages=1_500))

    shown = drawn(before, now, Choice(agent=now.tree[0]["children"][0]["id"]), rows=60, columns=400)

    assert "[bold]x" in shown
    assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown


def hostile(seen: Look) -> Look:
    """The look with what would steer a terminal behind each text that is not one of our own words."""

    def spoiled(told: Any, name: str = "") -> Any:
        if isinstance(told, dict):
            return {key: spoiled(value, key) for key, value in told.items()}
        if isinstance(told, list):
            return [spoiled(each, name) for each in told]
        is_ours = name in ("state", "kind", "started_at", "engine", "restart", "strategy", "intensity")
        return told if is_ours or not isinstance(told, str) else f"{told}\x1b[2J\x07\u202e[bold]x"

    return replace(
        seen,
        about=spoiled(seen.about),
        tree=spoiled(seen.tree),
        metrics=spoiled(seen.metrics),
        note=spoiled("it hangs"),
    )


def test_where_not_all_processes_fit_those_that_live_are_shown_and_the_others_counted() -> None:
    many = [counts(host=f"desk.h{number}", alive=number == 24) for number in range(25)]
    now = look(1.0)

    shown = drawn(None, replace(now, metrics={**(now.metrics or {}), "hosts": many}), Choice(), rows=24)

    assert "desk.h24" in shown
    assert "gpt-5-mini" in shown
    assert re.search(r"and \d+ more", shown)


@pytest.mark.parametrize(
    ("wanted", "rooms_given"),
    [((5, 4, 3), (5, 4, 3)), ((500, 4, 3), (13, 4, 3)), ((500, 27, 3), (10, 7, 3)), ((5, 27, 9), (5, 8, 7))],
)
def test_the_tree_has_half_of_the_lines_and_whatever_others_do_not_need(
    wanted: tuple[int, int, int], rooms_given: tuple[int, int, int]
) -> None:
    tree, hosts, models = wanted

    assert rooms(20, tree=tree, hosts=hosts, models=models) == rooms_given


def test_looks_that_take_long_are_seldom() -> None:
    assert pause_s(0.01) == REFRESH_S
    assert pause_s(0.5) == 4.5


def test_a_frame_has_tree_rates_restarts_cost_and_hosts() -> None:
    shown = drawn(look(0.0), look(2.0, messages=1_500), Choice(agent="desk/analyst"))

    assert "desk · ray · pid 7 · running for 5 min" in shown
    assert "2 agents · 2 restarts · 3 dead letters · $0.0123 · 250 messages/s · 7 waiting · 1,234 tokens" in shown
    for part in ("└─ analyst", "desk.h1", "node-a", "gpt-5-mini", "q end"):
        assert part in shown


def test_an_app_that_gives_no_answer_is_shown_as_it_was_with_the_reason() -> None:
    assert "it hangs" in drawn(None, replace(look(1.0), note="it hangs"), Choice())


def test_of_a_long_why_its_end_is_shown_since_what_to_do_stands_there() -> None:
    to = io.StringIO()
    console = Console(file=to, width=80, color_system=None)
    found = Found(agent="desk/clerk", deaths=deaths_of([death(life) for life in range(1, 6)]))
    why = why_lines(parts(found), console=console)

    console.print(why_frame(why, Choice(agent="desk/clerk", is_open=True), rows=12))
    end = to.getvalue()
    console.print(why_frame(why, Choice(agent="desk/clerk", is_open=True, lines_back=len(why) - 10), rows=12))
    begin = to.getvalue().removeprefix(end)

    assert len(end.splitlines()) <= 12
    assert len(begin.splitlines()) <= 12
    assert "mend ValueError" in end
    assert end.splitlines()[-1].startswith("↑↓")
    assert begin.startswith("desk/clerk · its app does not run")


def test_everybody_can_be_chosen_and_first_the_root_whose_why_tells_where_to_begin() -> None:
    assert ids_of(look(0.0).tree) == [ROOT["id"], AGENT["id"], "desk/analyst"]


def test_the_screenshot_in_the_guide_is_what_it_looks_like() -> None:
    """One that is not current is made anew: look at it, and put it into the change."""
    console = Console(file=io.StringIO(), record=True, width=100, force_terminal=True, color_system="truecolor")
    console.print(frame(look(0.0), look(2.0, messages=1_500), Choice(agent="desk/analyst"), at=AT, rows=30))
    plain = re.sub(r"@font-face \{\{.*?\n    \}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # which loads from outside

    svg = console.export_svg(title="regrow top", code_format=plain)

    current = SCREENSHOT.read_text("utf-8") if SCREENSHOT.exists() else ""
    if current != svg:
        SCREENSHOT.write_text(svg, "utf-8")
    assert current == svg
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+|https?://www\.textualize\.io\S*", "", svg)
