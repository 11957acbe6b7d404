"""The command line: what goes to stdout and stderr, and with which exit code, whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster import cli, cli_run, control_client, doctor
from regrow.cluster.doctor import Finding, Verdict
from regrow.cluster.errors import AppNotRunning, ControlError
from regrow.cluster.running import Ended
from regrow.runtime import Escalated, Shutdown
from regrow.runtime.errors import AskTimeout, Bug, TooLate

ABOUT = {
    "app": "desk",
    "engine": "ray",
    "pid": 41,
    "started_at": "2026-01-01T00:00:00+00:00",
    "state": "running",
}
AGENT = {
    "id": "desk/clerk",
    "kind": "worker",
    "state": "restarting",
    "incarnation": 3,
    "mailbox": 7,
    "restarts": 2,
    "pid": 42,
    "host": "h1",
    "node": "node-a",
    "last_reason": "ValueError: bad",
    "children": [],
}
ROOT = {**AGENT, "id": "desk", "kind": "supervisor", "state": "running", "last_reason": "", "children": [AGENT]}


@dataclass(frozen=True, slots=True)
class Said:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout; fails when there is more or less."""
        return json.loads(self.out)


Regrow = Callable[..., Said]


@pytest.fixture
def regrow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Regrow:
    """Runs the command in this process."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["regrow", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, no variables, a runtime folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in list(os.environ):
        if name.startswith(("REGROW_", "OPENAI_")):
            monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield tmp_path


def answers(monkeypatch: pytest.MonkeyPatch, **by_verb: object) -> list[dict[str, object]]:
    """Makes the app `desk` answer so; gives what it is asked."""
    asked: list[dict[str, object]] = []

    def call(app: str, do: str, **more: object) -> object:
        asked.append({"app": app, "do": do, **more})
        answer = by_verb[do]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(control_client, "call", call)
    monkeypatch.setattr(control_client, "running_pids", lambda: {"desk": 41})
    return asked


# ---- results -------------------------------------------------------------------------------------


def test_the_version_is_told(regrow: Regrow) -> None:
    said = regrow("--version")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("regrow 0.")


@pytest.mark.slow
def test_nothing_heavy_is_loaded_for_the_version() -> None:
    code = (
        "import regrow.cluster, sys; before = set(sys.modules); "
        "import regrow.cluster.cli; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    ours = {name for name in done.stdout.split() if name.startswith("regrow.")}
    assert loaded & {"ray", "faiss", "openai", "numpy", "pydantic", "structlog", "rich", "redis"} == set()
    verbs = ("decide", "mcp", "observe", "skills", "top", "traces", "verb", "why")
    assert ours == {"regrow.cluster.cli", "regrow.cluster.entry", *(f"regrow.cluster.cli_{verb}" for verb in verbs)}


def test_ps_shows_the_tree_with_all_that_was_asked_for(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, about=ABOUT, tree=[ROOT])

    said = regrow("ps")

    head, titles, root, agent = said.out.splitlines()
    assert (said.code, said.err) == (0, "")
    assert head.startswith("desk · ray · pid 41 · running for ")
    assert titles.split() == ["agent", "state", "mailbox", "restarts", "pid", "node", "last", "ended", "with"]
    assert root.split()[:2] == ["desk", "running"]
    assert agent.split() == ["└─", "clerk", "restarting", "7", "2", "42", "node-a", "ValueError:", "bad"]


def test_ps_as_json_is_a_list_of_apps_or_the_one_that_was_named(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, about=ABOUT, tree=[ROOT])

    assert regrow("ps", "--json").json == [{**ABOUT, "tree": [ROOT]}]
    assert regrow("ps", "desk", "--json").json == {**ABOUT, "tree": [ROOT]}


def test_ps_of_nothing_is_no_error(regrow: Regrow) -> None:
    assert regrow("ps", "--json").json == []
    said = regrow("ps")

    assert (said.code, said.out) == (0, "")
    assert "no app is running here; start one with: regrow run MODULE:APP" in said.err


def test_ps_shows_an_app_that_starts_without_its_tree(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, about={**ABOUT, "state": "starting"})

    assert "starting for" in regrow("ps", "desk").out


@pytest.mark.parametrize("silent", [{"about": TooLate("look at 41")}, {"about": ABOUT, "tree": TooLate("look at 41")}])
def test_ps_shows_an_app_that_does_not_answer_among_the_others(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch, silent: dict[str, object]
) -> None:
    shop = {**ABOUT, "app": "shop", "pid": 43}

    def call(app: str, do: str, **more: object) -> object:
        answer = silent[do] if app == "desk" else {"about": shop, "tree": [ROOT]}[do]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(control_client, "call", call)
    monkeypatch.setattr(control_client, "running_pids", lambda: {"desk": 41, "shop": 43})

    said = regrow("ps")
    as_json = regrow("ps", "--json")

    engine = " · ray" if "tree" in silent else ""
    assert said.out.splitlines()[:2] == [f"desk{engine} · pid 41 · no answer", "look at 41"]
    assert said.out.splitlines()[2].startswith("shop · ray · pid 43 · running for ")
    assert (said.code, as_json.code) == (0, 0)
    desk, other = as_json.json
    assert (desk["app"], desk["pid"], desk["state"], desk["tree"]) == ("desk", 41, "no answer", [])
    assert desk.keys() == {*other.keys(), "note"}
    assert other == {**shop, "tree": [ROOT]}


def test_ps_does_not_show_what_has_ended_since_it_was_listed(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, about=ABOUT, tree=AppNotRunning("desk"))

    assert regrow("ps", "--json").json == []


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("hello", "hello\n"),
        (None, ""),
        ({"text": "hello"}, "hello\n"),
        ([1, 2], "[\n  1,\n  2\n]\n"),
        ({"text": "ä", "sources": []}, '{\n  "text": "ä",\n  "sources": []\n}\n'),
    ],
)
def test_a_reply_is_printed_as_text_where_it_is_one(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch, reply: object, shown: str
) -> None:
    answer = {"agent": "desk/clerk", "type": "Question", "reply": reply}
    answers(monkeypatch, ask=answer)

    said = regrow("ask", "desk/clerk", "what?")

    assert (said.code, said.out, said.err) == (0, shown, "")
    assert regrow("ask", "desk/clerk", "what?", "--json").json == answer


def test_ask_hands_on_words_type_and_time(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, ask={"reply": "yes"})

    regrow("ask", "desk/clerk", "one", "b=2", "-5", "--type", "Question", "--timeout", "3")
    regrow("ask", "desk/clerk", ' {"text": "x"}')

    assert asked[0] == {
        "app": "desk",
        "do": "ask",
        "wait_s": 8.0,
        "agent": "desk/clerk",
        "type": "Question",
        "timeout_s": 3.0,
        "words": ["one", "b=2", "-5"],
    }
    assert asked[1]["fields"] == {"text": "x"}


def test_stop_tells_why_it_ended(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {"app": "desk", "reason": {"kind": "normal"}, "text": "Normal"}
    answers(monkeypatch, stop=ended)

    assert regrow("stop", "desk").out == "desk has stopped: Normal\n"
    assert regrow("stop", "desk", "--json").json == ended


def test_tree_draws_how_each_restarts_and_how_it_has_fared(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = {**AGENT, "restart": "transient", "strategy": "", "intensity": ""}
    own = {"restart": "", "strategy": "rest_for_one", "intensity": "3 in 5 s", "restarts": 0}
    answers(monkeypatch, tree=[{**ROOT, **own, "children": [agent]}])

    said = regrow("tree", "desk")
    as_json = regrow("tree", "desk", "--json")

    assert said.code == 0
    assert [line.rstrip() for line in said.out.splitlines()] == [
        "desk  rest_for_one, 3 in 5 s · running · #3 pid 42",
        "└── clerk  transient · restarting · #3 pid 42 · 2 restarts · last ended with ValueError: bad",
    ]
    assert as_json.json[0]["children"][0]["restart"] == "transient"


def test_dead_letters_are_counted_and_the_latest_are_listed(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = {
        "at": "2026-01-01T00:00:01.500+00:00",
        "reason": "crashed",
        "message": "Note",
        "sender": "desk/analyst#2",
        "receiver": "desk/clerk",
        "incarnation": 3,
    }
    told = {"total": 1_003, "counts": {"crashed": 3, "expired": 1_000}, "latest": [letter]}
    answers(monkeypatch, dead_letters=told)

    said = regrow("dead-letters", "desk")

    rows = [line.split() for line in said.out.splitlines()]
    assert rows[1:4] == [["expired", "1,000"], ["crashed", "3"], ["in", "all", "1,003"]]
    assert rows[6][1:] == ["crashed", "Note", "desk/analyst#2", "desk/clerk#3"]
    assert rows[7] == "the latest 1 of 1,003".split()
    assert regrow("dead-letters", "desk", "--json").json == {"app": "desk", **told}


def test_an_app_without_dead_letters_says_so(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, dead_letters={"total": 0, "counts": {}, "latest": []})

    assert regrow("dead-letters", "desk").out == "desk has no dead letters: every message was handled\n"


OLD, NEW = {"incarnation": 3, "pid": 41}, {"incarnation": 4, "pid": 42}


@pytest.mark.parametrize(
    ("deed", "more", "code", "told"),
    [
        (
            "kill",
            {"before": OLD, "after": NEW, "state": "running"},
            0,
            "desk/clerk was killed (#3, pid 41) and is back after 18 ms: #4, pid 42",
        ),
        (
            "restart",
            {"before": OLD, "after": NEW, "state": "running"},
            0,
            "desk/clerk was stopped (#3, pid 41) and runs again after 18 ms: #4, pid 42",
        ),
        (
            "restart",
            {"before": None, "after": NEW, "state": "running"},
            0,
            "desk/clerk did not run and runs now after 18 ms: #4, pid 42",
        ),
        (
            "kill",
            {"before": OLD, "after": None, "state": "gone", "why": "it is temporary"},
            0,
            "desk/clerk was killed (#3, pid 41) and is not started again: it is temporary",
        ),
        (
            "kill",
            {"before": OLD, "after": None, "state": "app_ended", "why": "Escalated: clerk"},
            1,
            "desk/clerk was killed (#3, pid 41) and the whole app ended with it: Escalated: clerk",
        ),
        (
            "restart",
            {"before": OLD, "after": None, "state": "stopped", "why": "Shutdown"},
            1,
            "desk/clerk was stopped (#3, pid 41) and is stopped: Shutdown",
        ),
    ],
)
def test_kill_and_restart_tell_what_became_of_the_agent(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch, deed: str, more: dict[str, object], code: int, told: str
) -> None:
    done = {"agent": "desk/clerk", "deed": deed, "took_s": 0.018, "why": "", **more}
    asked = answers(monkeypatch, **{deed: done})

    said = regrow(deed, "desk/clerk", "--timeout", "3")
    as_json = regrow(deed, "desk/clerk", "--json")

    assert (said.code, said.out, said.err) == (code, f"{told}\n", "")
    assert (as_json.code, as_json.json) == (code, done)
    assert asked[0] == {"app": "desk", "do": deed, "wait_s": 8.0, "agent": "desk/clerk", "timeout_s": 3.0}


def test_an_agent_of_the_services_is_asked_for_at_its_app(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, kill=ControlError("no", type_name="NoSuchAgent", exit_code=2))

    assert regrow("kill", "desk:services/memory").code == 2
    assert (asked[0]["app"], asked[0]["agent"]) == ("desk", "desk:services/memory")


def test_new_lists_what_it_made(regrow: Regrow, folder: Path) -> None:
    assert regrow("new", "shop").out.splitlines()[0] == "shop/shop.py"
    made = regrow("new", "store", "--json").json

    assert (made["app"], made["folder"]) == ("store", "store")
    assert all((folder / file).is_file() for file in made["files"])


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.GOOD, 0), (Verdict.DOUBTFUL, 0), (Verdict.BAD, 1)])
def test_doctor_fails_only_for_what_is_bad(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, code: int
) -> None:
    found = [Finding("Python", Verdict.GOOD, "3.11"), Finding("Redis", verdict, "as it is", "do this")]
    monkeypatch.setattr(doctor, "examine", lambda config: found)

    said = regrow("doctor")
    as_json = regrow("doctor", "--json")

    mark = {Verdict.GOOD: "✓", Verdict.DOUBTFUL: "!", Verdict.BAD: "✗"}[verdict]
    assert said.out.splitlines() == ["✓ Python: 3.11", f"{mark} Redis: as it is", "  → do this"]
    assert (said.code, as_json.code) == (code, code)
    assert as_json.json["fit"] is (code == 0)
    assert as_json.json["findings"][1]["verdict"] == verdict.value


@pytest.mark.parametrize(("type_name", "leads"), [("AskFailed", True), ("AskTimeout", True), ("NotApproved", False)])
def test_an_ask_that_came_to_nothing_leads_to_why(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch, type_name: str, leads: bool
) -> None:
    def call(app: str, do: str, **more: object) -> object:
        raise ControlError("desk/clerk died", type_name=type_name, exit_code=2)

    monkeypatch.setattr(control_client, "call", call)

    said, as_json = regrow("ask", "desk/clerk", "x"), regrow("ask", "desk/clerk", "x", "--json")

    assert said.err.splitlines()[0] == "regrow: desk/clerk died"
    assert ("regrow why desk/clerk" in said.err) == leads
    assert as_json.json["error"]["text"] == "desk/clerk died"


@pytest.mark.parametrize(
    ("reason", "code"),
    [(Shutdown(detail="interrupted"), 0), (Escalated(child="clerk", restarts=4, cause="ValueError: bad"), 1)],
)
def test_run_ends_with_the_reason_of_its_root_and_where_it_is_told_what_led_to_it(
    regrow: Regrow, monkeypatch: pytest.MonkeyPatch, reason: Shutdown | Escalated, code: int
) -> None:
    def run(target: str, **more: object) -> Ended:
        print("an agent prints this")
        return Ended(app="desk", engine="inline", reason=reason, told=reason)

    monkeypatch.setattr(cli_run, "run", run)

    said = regrow("run", "desk:app", "--json")

    assert said.code == code
    assert said.json["reason"] == reason.model_dump(mode="json")
    assert "an agent prints this" in said.err
    assert f"regrow: desk ended: {reason}" in said.err
    assert ("regrow why desk" in said.err) == bool(code)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "nix:app"), "there is no module 'nix' here"),
        (("run", "hello"), "write it as MODULE:APP"),
        (("run", "json:app"), "json has no app 'app'; its apps are: none"),
        (("run", "hello:app", "--config", "nix.toml"), "there is no config file nix.toml"),
        (("ps", "nix"), "no app 'nix' is running here; start it with"),
        (("stop", "nix"), "no app 'nix' is running here; start it with"),
        (("ask", "nix/greet", "x"), "no app 'nix' is running here; start it with"),
        (("tree", "nix"), "no app 'nix' is running here; start it with"),
        (("dead-letters", "nix"), "no app 'nix' is running here; start it with"),
        (("kill", "nix/greet"), "no app 'nix' is running here; start it with"),
        (("restart", "nix/greet"), "no app 'nix' is running here; start it with"),
        (("ps", "nix", "--watch"), "no app 'nix' is running here; start it with"),
        (("ask", "nix"), "write APP/AGENT"),
        (("kill", "nix"), "write APP/AGENT"),
        (("restart", "/greet"), "write APP/AGENT"),
        (("kill", "nix/greet", "--timeout", "nan"), "give seconds above 0"),
        (("ask", "nix/greet", "x", "--timeout", "0"), "give seconds above 0"),
        (("ask", "nix/greet", "{text: 1}"), "is no valid JSON"),
        (("run", "./hello:app"), "give the module and not a path, such as hello:app"),
        (("run", ".hello:app"), "give the module and not a path, such as hello:app"),
        (("run", "shops/hello.py:app"), "give the module and not a path, such as shops.hello:app"),
        (("run", "../hello:app"), "go to the folder of hello.py and give hello:app"),
        (("run", "/srv/hello.py:app"), "go to the folder of hello.py and give hello:app"),
        (("run", "./:app"), "write it as MODULE:APP"),
        (("new", "json"), "try json_app"),
        (("stop", "a" * 200), "too long a path"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(regrow: Regrow, arguments: tuple[str, ...], told: str) -> None:
    said = regrow(*arguments)
    as_json = regrow(*arguments, "--json")

    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert said.err.count("\n") == 1
    assert as_json.code == 2
    assert told in as_json.json["error"]["text"]
    assert as_json.json["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        ("wrong_syntax", "def x(:", "SyntaxError: invalid syntax (wrong_syntax.py, line 1)"),
        ("wrong_end", "import sys; sys.exit(3)", "importing it ends the program (exit 3)"),
        ("wrong_import", "import nonexistent_module", "needs 'nonexistent_module', which is not installed"),
        ("wrong_value", "x = 1\nx / 0", "ZeroDivisionError: division by zero at wrong_value.py:2"),
        ("wrong_agent", "from regrow import agent\n@agent\ndef f(x) -> str: ...", "at wrong_agent.py:2"),
    ],
)
def test_code_that_can_not_be_imported_is_told_with_its_place(
    regrow: Regrow, folder: Path, module: str, code: str, told: str
) -> None:
    (folder / f"{module}.py").write_text(code)

    said = regrow("run", f"{module}:app")

    assert (said.code, said.err.count("\n")) == (2, 1)
    assert told in said.err


def test_a_config_with_an_unknown_key_stops_before_anything_starts(regrow: Regrow, folder: Path) -> None:
    (folder / "regrow.toml").write_text("engin = 'ray'\n")

    said = regrow("run", "json:app")

    assert said.code == 2
    assert "unknown key 'engin'; did you mean 'engine'?" in said.err


def test_an_agent_that_does_not_start_is_told_with_its_place(regrow: Regrow, folder: Path) -> None:
    (folder / "unready.py").write_text(
        "from regrow import Agent, App\n"
        "class Clerk(Agent):\n"
        "    async def started(self, ctx):\n"
        "        raise ValueError('no key')\n"
        "app = App('unready', Clerk)\n"
    )

    said = regrow("run", "unready:app", "--engine", "inline")

    assert said.code == 2
    assert "unready did not start: child 'clerk' failed to start (ValueError: no key)" in said.err
    assert said.err.endswith("(unready.py:4)\n")
    assert control_client.running_apps() == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AskTimeout("desk/clerk", "Question", 3), 2),
        (ControlError("said no", type_name="Refused", exit_code=2), 2),
        (ControlError("broken", type_name="Bug", exit_code=70), 70),
        (Bug("must not be"), 70),
        (ZeroDivisionError("division by zero"), 70),
    ],
)
def test_each_error_has_its_code(regrow: Regrow, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    answers(monkeypatch, stop=error)

    said = regrow("stop", "desk", "--json")

    assert said.code == code
    assert said.json["error"]["exit_code"] == code
    assert str(error) in said.err
    assert ("Traceback" in said.err) is (code == 70)
    assert ("please report it" in said.err) is (code == 70)


def test_an_interrupted_command_says_so(regrow: Regrow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, stop=KeyboardInterrupt())

    said = regrow("stop", "desk")

    assert (said.code, said.out, said.err) == (130, "", "regrow: interrupted\n")


@pytest.mark.parametrize("arguments", [("run",), ("run", "a:b", "--engine", "steam"), ("dance",), ("ps", "--jso")])
def test_wrong_usage_is_code_2_and_shows_the_way_to_help(regrow: Regrow, arguments: tuple[str, ...]) -> None:
    said = regrow(*arguments)

    assert (said.code, said.out) == (2, "")
    assert "--help" in said.err
