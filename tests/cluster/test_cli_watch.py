"""`regrow ps --watch`: a frame for each change, an end that is told, and Ctrl-C as the way out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from regrow.cluster import cli_calls, control_client
from regrow.cluster.cli_watch import ChangingScreen, LiveScreen, screen_for, watch
from regrow.cluster.errors import AppNotRunning
from regrow.cluster.views import tree_table
from regrow.runtime.errors import TooLate
from tests.cluster.test_cli import ABOUT, AGENT, ROOT

FULL = {**ROOT, "children": [{**AGENT, "mailbox": 9}]}

Look = dict[str, Any] | Exception


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the app `desk` answers, look after look; after the last one somebody presses Ctrl-C."""

    def answers(*given: Look) -> None:
        left: Iterator[Look] = iter(given)

        def call(app: str, do: str, **more: object) -> Any:
            if do == "about":
                look = next(left, None)
                if look is None:
                    raise KeyboardInterrupt
                call.now = look  # type: ignore[attr-defined]
                if isinstance(look, Exception):
                    raise look
                return {name: value for name, value in look.items() if name != "tree"}
            return call.now["tree"]  # type: ignore[attr-defined]

        monkeypatch.setattr(control_client, "call", call)
        monkeypatch.setattr(control_client, "running_pids", lambda: {"desk": 41})

    return answers


def running(tree: dict[str, Any] = ROOT) -> dict[str, Any]:
    return {**ABOUT, "tree": [tree]}


def watched(*, app: str | None = "desk", as_json: bool = False) -> str:
    to = io.StringIO()
    watch(app, ChangingScreen(to, one_app=app is not None, as_json=as_json), wait=lambda _: None)
    return to.getvalue()


def test_a_frame_is_printed_for_each_change_and_none_for_a_look_without_one(looks: Callable[..., None]) -> None:
    looks(running(), running(), running(FULL), running(FULL), running(FULL))

    frames = watched().split("\n\n")

    assert len(frames) == 2
    assert [frame.splitlines()[1].split(" · ")[:3] for frame in frames] == [["desk", "ray", "pid 41"]] * 2
    assert [" 7 " in frames[0], " 9 " in frames[1]] == [True, True]


def test_as_json_each_frame_is_one_line_and_the_last_says_that_the_app_has_ended(looks: Callable[..., None]) -> None:
    looks(running(), running(), running(FULL), AppNotRunning("desk"))

    first, second, last = map(json.loads, watched(as_json=True).splitlines())

    assert first == running()
    assert second == running(FULL)
    assert (last["app"], last["state"], last["tree"]) == ("desk", "ended", [])


def test_the_end_of_the_app_ends_the_watch_and_is_told(looks: Callable[..., None]) -> None:
    looks(running(), AppNotRunning("desk"), running())

    assert watched().splitlines()[-1] == "desk · ray · pid 41 · ended"


def test_an_app_that_hangs_is_shown_as_such_and_watched_on(looks: Callable[..., None]) -> None:
    looks(running(), TooLate("look at 41"), running())

    frames = watched().split("\n\n")

    assert frames[1].splitlines()[1:] == ["desk · pid 41 · no answer", "look at 41"]
    assert "running" in frames[2]


def test_an_app_that_never_was_is_an_error_and_no_watch(looks: Callable[..., None]) -> None:
    looks(AppNotRunning("desk"))

    with pytest.raises(AppNotRunning):
        watched()


def test_a_watch_of_all_apps_tells_which_ended_and_goes_on(
    looks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: Iterator[list[dict[str, Any]]] = iter([[], [running()], []])

    def all_seen() -> list[dict[str, Any]]:
        found = next(frames, None)
        if found is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(cli_calls, "all_seen", all_seen)

    none, one, ended = map(json.loads, watched(app=None, as_json=True).splitlines())

    assert none == []
    assert [each["state"] for each in one] == ["running"]
    assert [(each["app"], each["state"]) for each in ended] == [("desk", "ended")]


def test_on_a_terminal_the_last_frame_stays(looks: Callable[..., None]) -> None:
    looks(running(), AppNotRunning("desk"))
    to = io.StringIO()

    with Live(console=Console(file=to, force_terminal=True, width=100), auto_refresh=False) as live:
        watch("desk", LiveScreen(live, one_app=True), wait=lambda _: None)

    shown = to.getvalue()
    assert "Ctrl-C ends this view" in shown
    assert shown.rindex("· ended") > shown.rindex("Ctrl-C")
    assert shown.endswith("\x1b[?25h")  # the cursor is back


def test_what_is_no_terminal_gets_lines() -> None:
    with screen_for(io.StringIO(), one_app=True, as_json=False) as screen:
        assert isinstance(screen, ChangingScreen)


def test_on_a_narrow_terminal_a_long_reason_is_cut_and_nothing_else() -> None:
    agent = {**AGENT, "last_reason": "ValueError: " + "much text " * 50}
    to = io.StringIO()

    Console(file=to, force_terminal=True, width=80, color_system=None).print(
        tree_table([{**ROOT, "children": [agent]}])
    )

    _, _, line = to.getvalue().splitlines()
    assert line.startswith("└─ clerk  restarting")
    assert " 42  node-a  ValueError: much" in line
    assert line.rstrip().endswith("…")
