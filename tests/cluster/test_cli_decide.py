"""The verbs with which a person decides about durable messages: what they ask of the app, and what they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from regrow.cluster import cli, cli_decide, control_client
from regrow.cluster.errors import ControlError

ID = "desk/clerk@019ab2d4-6c00-7000-8000-000000000001"
ROW = {"id": ID, "agent": "desk/clerk", "command": ID[11:], "since": "2026-01-01T00:00:00.000+00:00"}
SHOWN = {
    **ROW,
    "reason": "step 'mail' was begun",
    "attempts": 1,
    "sender": None,
    "type": "desk:Send",
    "fields": {"text": "paid"},
    "history": [{"epoch": 3, "text": "ValueError: cut"}],
    "steps": [{"name": "mail", "number": 1, "state": "started", "epoch": 3, "result": None}],
    "open_steps": 1,
}
TURN = {
    "id": ID,
    "command": ID[11:],
    "outcome": "committed",
    "began": "2026-01-01T00:00:00.000+00:00",
    "ended": "2026-01-01T00:00:00.250+00:00",
    "incarnation": 4,
    "epoch": 3,
    "failed_before": 1,
    "sender": None,
    "type": "desk:Send",
    "fields": {"text": "paid"},
    "shortened": False,
    "steps": [
        {"name": "mail", "number": 1, "attempts": 2, "state": "done"},
        {
            "name": "wait:Yes",
            "number": 1,
            "attempts": 1,
            "state": "done",
            "by": "user:ada",
            "answer": {"approved": False},
        },
    ],
}
DECIDED = {
    **TURN,
    **dict.fromkeys(("began", "incarnation", "epoch", "type", "fields")),
    "failed_before": 0,
    "steps": [],
}

Regrow = Callable[..., tuple[int, str, str]]


@pytest.fixture
def regrow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Regrow:
    """Runs the command in this process; gives its code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["regrow", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def answers(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[dict[str, object]]:
    """Makes each app answer so; gives what they are asked."""
    asked: list[dict[str, object]] = []

    def call(app: str, do: str, **more: object) -> object:
        more.pop("wait_s")
        asked.append({"app": app, "do": do, **more})
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(control_client, "call", call)
    return asked


def test_quarantine_list_asks_for_one_agent_or_the_whole_app(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"app": "desk", "messages": [ROW], "more": False}
    asked = answers(monkeypatch, told)

    code, out, _ = regrow("quarantine", "list", "desk")
    in_json = regrow("quarantine", "list", "desk/clerk", "--json")[1]

    assert asked == [
        {"app": "desk", "do": "set_aside", "agent": ""},
        {"app": "desk", "do": "set_aside", "agent": "desk/clerk"},
    ]
    assert code == 0
    assert ID in out
    assert json.loads(in_json) == told


def test_an_empty_quarantine_is_said_to_be_empty(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"app": "desk", "messages": [], "more": False})

    assert regrow("quarantine", "list", "desk")[:2] == (0, "desk has nothing in quarantine\n")


def test_quarantine_show_prints_the_message_its_attempts_and_what_to_do(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, SHOWN)

    code, out, _ = regrow("quarantine", "show", ID)

    assert code == 0
    for part in (ID, 'desk:Send {"text": "paid"}', "life 3  failed: ValueError: cut", "mail (number 1) started"):
        assert part in out
    assert "requeue with --assume done|undone" in out


def test_history_prints_how_turns_ended_with_their_steps_and_what_is_known_of_them(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"agent": "desk/clerk", "turns": [TURN, {**DECIDED, "outcome": "requeued", "by": "user:ada"}], "more": True}
    asked = answers(monkeypatch, told)

    code, out, _ = regrow("history", "desk/clerk", "--limit", "2")
    in_json = regrow("history", "desk/clerk", "--json")[1]

    assert asked == [
        {"app": "desk", "do": "history", "agent": "desk/clerk", "limit": limit}
        for limit in (2, cli_decide.HISTORY_TURNS)
    ]
    assert code == 0
    for part in (
        ID,
        'committed  Send {"text": "paid"}',
        "took 250 ms · life #4, epoch 3 · attempts that failed before: 1",
    ):
        assert part in out
    assert 'wait:Yes (number 1) done by user:ada: {"approved": false}\n' in out
    for part in (
        "mail (number 1) done, 2 attempts",
        "requeued  (not kept)  by user:ada\n",
        "the newest 2; older ones are kept",
    ):
        assert part in out
    assert json.loads(in_json) == told


def test_an_agent_without_history_is_said_to_have_none(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"agent": "desk/clerk", "turns": [], "more": False})

    assert regrow("history", "desk/clerk")[:2] == (0, "desk/clerk has no history: no turn has ended, or none is kept\n")


def test_requeue_and_quarantine_requeue_are_the_same_and_say_what_to_assume(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, {"id": ID, "did": "requeue", "assume": "done"})

    code, out, _ = regrow("requeue", ID, "--assume", "done")
    regrow("quarantine", "requeue", ID)

    order = {"app": "desk", "do": "decide", "id": ID, "decision": "requeue"}
    assert asked == [{**order, "assume": "done"}, {**order, "assume": None}]
    assert (code, out) == (0, f"{ID} is in its agent's mailbox again\n")


def test_quarantine_drop_says_that_the_message_is_forgotten(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, {"id": ID, "did": "drop"})

    assert regrow("quarantine", "drop", ID)[:2] == (0, f"{ID} is forgotten\n")
    assert asked == [{"app": "desk", "do": "decide", "id": ID, "decision": "drop", "assume": None}]


def test_waits_lists_who_waits_for_what_and_until_when(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = {**ROW, "sent": ROW["since"], "for": "desk:Approval", "until": "2026-01-02T00:00:00.000+00:00"}
    told = {"app": "desk", "waits": [wait], "more": False}
    asked = answers(monkeypatch, told)

    code, out, _ = regrow("waits", "desk")
    in_json = regrow("waits", "desk/clerk", "--json")[1]

    assert [each["agent"] for each in asked] == ["", "desk/clerk"]
    assert code == 0
    assert ID in out
    assert "for Approval until 2026-01-0" in out
    assert json.loads(in_json) == told


def test_waits_shows_the_call_of_a_tool_to_which_consent_is_asked(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = {"tool": "pay_back", "arguments": '{"cents":500}'}
    wait = {**ROW, "sent": ROW["since"], "for": "regrow.actors.tool_approval:ToolApproval", "until": None, "call": call}
    answers(monkeypatch, {"app": "desk", "waits": [wait], "more": False})

    assert 'for ToolApproval of pay_back {"cents":500}' in regrow("waits", "desk")[1]


def test_approve_sends_the_words_or_the_json_that_were_typed(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, {"id": ID, "type": "desk:Approval", "answer": {"by": "ada"}})

    code, out, _ = regrow("approve", ID)
    regrow("approve", ID, "by=ada", "approved=false")
    regrow("approve", ID, '{"by": "ada"}')

    order = {"app": "desk", "do": "approve", "id": ID}
    assert asked == [
        {**order, "words": []},
        {**order, "words": ["by=ada", "approved=false"]},
        {**order, "fields": {"by": "ada"}},
    ]
    assert (code, out) == (0, f"{ID} has its answer: Approval {{'by': 'ada'}}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("quarantine", "list", "/clerk"),
        ("quarantine", "list", "desk/"),
        ("quarantine", "show", "desk/clerk"),
        ("quarantine", "drop", "desk@019ab2d4-6c00-7000-8000-000000000001"),
        ("requeue", "clerk"),
        ("history", "desk"),
        ("waits", "desk/"),
        ("approve", "desk/clerk"),
    ],
)
def test_what_names_nothing_is_one_sentence_and_exit_2(regrow: Regrow, arguments: tuple[str, ...]) -> None:
    code, out, err = regrow(*arguments)

    assert (code, out) == (2, "")
    assert "write APP" in err
    assert err.count("\n") == 1


def test_what_to_assume_is_done_or_undone_and_nothing_else(regrow: Regrow) -> None:
    assert regrow("requeue", ID, "--assume", "perhaps")[0] == 2


def test_what_the_app_refuses_is_told_as_it_says_it(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{ID} is not in quarantine"
    answers(monkeypatch, ControlError(text, type_name="Misuse", exit_code=2))

    code, out, err = regrow("requeue", ID, "--json")

    assert (code, err) == (2, f"regrow: {text}\n")
    assert json.loads(out) == {"error": {"type": "Misuse", "text": text, "exit_code": 2}}
