"""The control socket: who gets in, what is answered, and what happens to input that nobody should send."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from regrow.actors import Agent, agent, on
from regrow.cluster import control, control_client
from regrow.cluster.app import App
from regrow.cluster.config import Settings, TracingSettings
from regrow.cluster.control import ControlSocket
from regrow.cluster.control_client import call, owner_of, running_apps, runtime_dir, socket_path
from regrow.cluster.errors import AppAlreadyRunning, AppNotRunning, ControlError
from regrow.cluster.running import supervise
from regrow.runtime import Message, Normal, Request
from regrow.runtime.errors import Bug, Misuse, TooLate, WorldBroke
from regrow.supervisors import Supervisor, child

WAIT_S = 20.0


class Sum(Message):
    value: int


class Add(Request[Sum]):
    a: int
    b: int = 2
    tags: tuple[str, ...] = ()


class Fail(Request[str]):
    why: str


class Note(Message):
    text: str


class Counter(Agent):
    @on
    async def add(self, request: Add) -> Sum:
        return Sum(value=request.a + request.b + len(request.tags))

    @on
    async def fail(self, request: Fail) -> str:
        raise RuntimeError(request.why)

    @on
    async def note(self, note: Note) -> None:
        return None


class Listener(Agent):
    @on
    async def note(self, note: Note) -> None:
        return None


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


@agent
async def nothing(name: str, times: int | None = None) -> None:
    return None


APP = App("small", greet, nothing, Counter, Listener)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own; short, since a socket's path has a limit."""
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield Path(short)


@pytest.fixture
async def served() -> AsyncIterator[ControlSocket]:
    """The small app, running and with its socket open."""
    settings = Settings.model_construct()
    async with opened("small") as opened_control, APP.start(engine="inline", settings=settings) as running:
        opened_control.attach(running)
        yield opened_control


def opened(app: str) -> ControlSocket:
    return ControlSocket(app, engine="inline", request_stop=lambda: None)


async def called(do: str, app: str = "small", wait_s: float = WAIT_S, **fields: object) -> Any:
    """What the blocking client gets, called beside the loop that serves it."""
    return await asyncio.to_thread(call, app, do, wait_s=wait_s, **fields)


async def asked(agent_id: str, *words: str, type: str = "") -> Any:
    return (await called("ask", agent=agent_id, words=list(words), type=type))["reply"]


async def refusal(agent_id: str, *words: str, type: str = "") -> str:
    with pytest.raises(ControlError) as caught:
        await asked(agent_id, *words, type=type)
    assert caught.value.exit_code == 2
    return str(caught.value)


async def sent(line: bytes, app: str = "small") -> bytes:
    """What comes back for these bytes, whatever they are."""
    reader, writer = await asyncio.open_unix_connection(socket_path(app))
    writer.write(line)
    answer = await asyncio.wait_for(reader.readline(), WAIT_S)
    writer.close()
    return answer


# ---- what is answered ----------------------------------------------------------------------------


async def test_about_tells_which_app_runs_where(served: ControlSocket) -> None:
    about = await called("about")

    started_at = about.pop("started_at")
    here = {"data_dir": str(Path.cwd() / ".regrow" / "small")}
    assert about == {"app": "small", "engine": "inline", "pid": os.getpid(), "state": "running", **here}
    assert started_at.endswith("+00:00")


async def test_tree_holds_every_supervisor_and_agent(served: ControlSocket) -> None:
    (root,) = await called("tree")

    assert (root["id"], root["kind"]) == ("small", "supervisor")
    assert [child["id"] for child in root["children"]] == [
        "small/greet",
        "small/nothing",
        "small/counter",
        "small/listener",
    ]


async def test_words_are_the_fields_in_their_order(served: ControlSocket) -> None:
    assert await asked("small/greet", "world") == "hello world"
    assert await asked("small/counter", "1", "3", type="Add") == {"value": 4}


async def test_words_may_name_their_fields(served: ControlSocket) -> None:
    assert await asked("small/counter", "b=5", "1", 'tags=["x", "y"]', type="Add") == {"value": 8}


async def test_a_text_field_takes_a_word_as_it_is(served: ControlSocket) -> None:
    assert await asked("small/greet", "5") == "hello 5"
    assert await asked("small/greet", 'name={"a": 1}') == 'hello {"a": 1}'
    assert await asked("small/greet", "what is a=b?") == "hello what is a=b?"


async def test_fields_are_read_as_json(served: ControlSocket) -> None:
    answer = await called("ask", agent="small/counter", type="Add", fields={"a": 1, "tags": ["x"]})

    assert answer == {"agent": "small/counter", "type": "Add", "reply": {"value": 4}}


async def test_a_request_may_be_named_as_it_travels(served: ControlSocket) -> None:
    assert await asked("small/counter", "1", type=f"{Add.__module__}:Add") == {"value": 3}


async def test_a_reply_of_nothing_is_null(served: ControlSocket) -> None:
    assert await asked("small/nothing", "x", "null") is None


async def test_stop_is_answered_when_the_app_has_stopped() -> None:
    orders: list[str] = []
    ordered = asyncio.Event()

    def request_stop() -> None:
        orders.append("stop")
        ordered.set()

    async with ControlSocket("small", engine="inline", request_stop=request_stop) as served:
        answer = asyncio.create_task(called("stop"))
        await asyncio.wait_for(ordered.wait(), WAIT_S)
        assert (await called("about"))["state"] == "stopping"
        assert not answer.done()
        served.ended(Normal())

        assert await answer == {"app": "small", "reason": {"kind": "normal"}, "text": "Normal"}
    assert orders == ["stop"]


async def test_a_kill_is_answered_with_the_old_life_and_the_new_one(served: ControlSocket) -> None:
    (root,) = await called("tree")
    before = root["children"][0]

    done = await called("kill", agent="small/greet")

    (root,) = await called("tree")
    after = root["children"][0]
    assert (done["agent"], done["deed"], done["state"]) == ("small/greet", "kill", "running")
    assert done["before"] == {"incarnation": before["incarnation"], "pid": os.getpid()}
    assert done["after"] == {"incarnation": after["incarnation"], "pid": os.getpid()}
    assert after["last_reason"].startswith("Killed")


async def test_what_an_agent_died_of_is_told_without_what_looks_like_a_secret() -> None:
    settings = Settings.model_construct(tracing=TracingSettings(redact=(r"EMP-\d+",)))
    control = ControlSocket("small", engine="inline", request_stop=lambda: None, settings=settings)
    async with control, APP.start(engine="inline", settings=settings) as running:
        control.attach(running)
        with pytest.raises(ControlError, match=r"RuntimeError: \[redacted\] has \[redacted\]"):
            await asked("small/counter", "EMP-4711 has api_key=sk-live-4711471147114711", type="Fail")

        (root,) = await called("tree")

    (counter,) = [node for node in root["children"] if node["id"] == "small/counter"]
    assert counter["last_reason"] == "RuntimeError: [redacted] has [redacted]"


async def test_of_a_secret_at_the_end_of_a_long_reason_nothing_is_told(served: ControlSocket) -> None:
    said = "no place for " * 37
    with pytest.raises(ControlError):
        await asked("small/counter", f"{said}ghp_4711471147114711471147114711", type="Fail")

    (root,) = await called("tree")

    (counter,) = [node for node in root["children"] if node["id"] == "small/counter"]
    assert counter["last_reason"] == f"RuntimeError: {said}…"


class Brittle(Agent):
    """Starts once, and then no more."""

    lives = 0

    def __init__(self) -> None:
        Brittle.lives += 1
        if Brittle.lives > 1:
            raise RuntimeError("no place for sk-live-4711471147114711")


async def test_how_an_app_ended_is_told_without_what_looks_like_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Brittle, "lives", 0)
    app, runs = App("brittle", Supervisor(max_restarts=1, children=[child(Brittle, id="one")])), asyncio.Event()
    settings = Settings.model_construct(tracing=TracingSettings())
    run = supervise(app, "inline", settings, say=lambda line: None, show=lambda *shown: runs.set())

    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(run)
        await runs.wait()
        done = await called("kill", app="brittle", agent="brittle/one")

    ended = ending.result()
    assert (done["state"], done["why"]) == ("app_ended", str(ended.told))
    assert str(ended.told).endswith("(RuntimeError: no place for [redacted])")
    assert "sk-live" in str(ended.reason)


async def test_a_restart_is_in_order_and_the_agent_answers_again(served: ControlSocket) -> None:
    done = await called("restart", agent="small/greet")

    assert done["after"]["incarnation"] > done["before"]["incarnation"]
    assert await asked("small/greet", "world") == "hello world"


async def test_dead_letters_are_told_with_the_time_of_day() -> None:
    before = datetime.now(UTC)
    settings = Settings.model_construct()
    async with opened("small") as served, APP.start(engine="inline", settings=settings) as running:
        served.attach(running)
        await running.ref("small/nobody").tell(Note(text="x"))

        told = await called("dead_letters")

    (letter,) = told["latest"]
    assert (told["total"], told["counts"]) == (1, {"no_such_agent": 1})
    assert (letter["receiver"], letter["message"], letter["sender"]) == ("small/nobody", "Note", "app:small")
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(letter["at"]) <= datetime.now(UTC)


async def test_metrics_are_told_as_the_app_tells_them_itself() -> None:
    async with opened("small") as served, APP.start(engine="inline", settings=Settings.model_construct()) as running:
        served.attach(running)
        await asked("small/greet", "world")

        told = await called("metrics")
        own = await running.metrics()

    for metrics in (told, own):
        for row in (*metrics["hosts"], metrics["total"]):
            del row["loop_lag_ms"]  # of its own moment
    assert told == own
    assert told["total"]["turns"] == 1


@pytest.mark.parametrize("do", ["kill", "restart"])
async def test_an_agent_that_is_not_there_is_told_with_those_that_are(served: ControlSocket, do: str) -> None:
    with pytest.raises(ControlError, match="did you mean small/greet") as caught:
        await called(do, agent="small/gret")

    assert (caught.value.type_name, caught.value.exit_code) == ("NoSuchAgent", 2)


async def test_an_app_that_is_still_starting_says_so() -> None:
    async with opened("small"):
        about = await called("about")
        with pytest.raises(ControlError, match="still starting") as caught:
            await called("tree")

    assert about["state"] == "starting"
    assert (caught.value.type_name, caught.value.exit_code) == ("AppNotRunning", 2)


# ---- what is refused -----------------------------------------------------------------------------


async def test_an_unknown_agent_is_answered_with_those_there_are(served: ControlSocket) -> None:
    text = await refusal("small/gret", "x")

    assert "no 'small/gret'; did you mean small/greet?" in text
    assert "small/greet, small/nothing, small/counter, small/listener" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "greet.Request(name: str): 'name' is missing"),
        (("a", "b"), "got 2 words"),
        (("nme=x",), "has no field 'nme'"),
    ],
)
async def test_wrong_words_are_told_with_the_fields_there_are(
    served: ControlSocket, words: tuple[str, ...], told: str
) -> None:
    assert told in await refusal("small/greet", *words)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"a": "many"}, "a is 'many'; it should be a valid integer"),
        ({"a": 1, "tgas": []}, "'tgas' is no field of it, did you mean 'tags'?"),
        ({"a": 1, "tags": [1, 2]}, "tags.0 is 1; it should be a valid string"),
        ({}, "'a' is missing"),
    ],
)
async def test_wrong_fields_are_told_one_by_one(served: ControlSocket, fields: dict[str, object], told: str) -> None:
    with pytest.raises(ControlError) as caught:
        await called("ask", agent="small/counter", type="Add", fields=fields)

    assert "small/counter takes Add(a: int, b: int = 2, tags: tuple[str, ...] = ())" in str(caught.value)
    assert told in str(caught.value)


async def test_which_request_is_meant_must_be_said_where_there_are_several(served: ControlSocket) -> None:
    assert "name one with --type: Add, Fail" in await refusal("small/counter", "1")
    assert "did you mean Add?" in await refusal("small/counter", "1", type="Ad")
    assert "expects no reply" in await refusal("small/counter", "1", type="Note")
    assert "answers nothing" in await refusal("small/listener", "x")


async def test_a_crash_of_the_agent_is_told_as_the_asker_in_the_app_would_hear_it(served: ControlSocket) -> None:
    with pytest.raises(ControlError, match=r"small/counter#\d+ died handling Fail \(RuntimeError: no luck") as caught:
        await asked("small/counter", "no luck", type="Fail")

    assert (caught.value.type_name, caught.value.exit_code) == ("AskFailed", 2)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"hello\n", "one line of JSON"),
        (b"[1]\n", "asked in None"),
        (b'{"do": "tree"}\n', "asked in None"),
        (b'{"v": 2, "do": "tree"}\n', "asked in 2"),
        (b'{"v": 1}\n', "can not be read"),
        (b'{"v": 1, "do": "dance"}\n', "can not be read"),
        (b'{"v": 1, "do": "tree", "more": 1}\n', "more: Extra inputs"),
        (b'{"v": 1, "do": "kill"}\n', "agent: Field required"),
        (b'{"v": 1, "do": "restart", "agent": "small/greet", "timeout_s": 0}\n', "timeout_s"),
        (b'{"v": 1, "do": "ask", "agent": 5}\n', "ask.agent"),
        (b'{"v": 1, "do": "ask", "agent": "small/greet", "timeout_s": -1}\n', "timeout_s"),
        (b'{"v": 1, "do": "ask", "agent": "small/greet", "timeout_s": 1e99}\n', "timeout_s"),
        (b'\xff\xfe{"v": 1}\n', "one line of JSON"),
        (b"[" * 100_000 + b"\n", "one line of JSON"),
        (b"\n", "one line of JSON"),
    ],
)
async def test_malformed_input_is_refused_and_harms_nothing(served: ControlSocket, line: bytes, told: str) -> None:
    answer = json.loads(await sent(line))

    assert answer["v"] == 1
    assert answer["error"]["type"] == "Misuse"
    assert told in answer["error"]["text"]
    assert (await called("about"))["state"] == "running"


async def test_a_line_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_LIMIT_BYTES", 100)

    async with opened("small"):
        answer = json.loads(await sent(b'{"v": 1, "do": "' + b"x" * 100_000 + b'"}\n'))

    assert "at most 100 bytes; send less" in answer["error"]["text"]


async def test_a_client_that_writes_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "READ_TIMEOUT_S", 0.01)

    async with opened("small"):
        answer = json.loads(await sent(b""))

    assert "none came within 0.01 s" in answer["error"]["text"]


async def test_an_answer_over_the_limit_is_an_error(served: ControlSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_LIMIT_BYTES", 50)

    with pytest.raises(ControlError, match="at most 50 are sent"):
        await called("tree")


async def test_one_more_than_can_be_served_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECTIONS_LIMIT", 1)
    ordered = asyncio.Event()

    async with ControlSocket("small", engine="inline", request_stop=ordered.set):
        waiting = asyncio.create_task(called("stop"))
        await asyncio.wait_for(ordered.wait(), WAIT_S)
        with pytest.raises(ControlError, match="as many as it can, 1 at once"):
            await called("about")
    await waiting


# ---- who gets in ---------------------------------------------------------------------------------


async def test_folder_and_socket_are_closed_to_others(folder: Path) -> None:
    async with opened("small"):
        path = socket_path("small")

        assert path.parent == folder / "regrow"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_folder_open_to_others_is_closed(folder: Path) -> None:
    (folder / "regrow").mkdir(mode=0o777)

    async with opened("small"):
        assert stat.S_IMODE((folder / "regrow").stat().st_mode) == 0o700


async def test_a_planted_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    runtime_dir().symlink_to(tmp_path / "elsewhere")

    with pytest.raises(WorldBroke, match="is not what it should be"):
        await opened("small").open()
    with pytest.raises(WorldBroke, match="is not what it should be"):
        call("small", "about", wait_s=WAIT_S)


def test_the_folder_of_temporary_files_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    expected = tmp_path / f"regrow-{os.getuid()}"
    found: list[Path] = []

    for given in ("", "relative", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
        found.append(runtime_dir())

    assert found == [expected] * 3


def test_a_path_that_the_kernel_would_not_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ("x" * 100)).mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))

    with pytest.raises(Misuse, match="too long a path"):
        socket_path("small")


# ---- names ---------------------------------------------------------------------------------------


async def test_a_second_app_of_the_name_is_refused_with_the_pid_of_the_first() -> None:
    async with opened("small"):
        with pytest.raises(AppAlreadyRunning, match=f"process {os.getpid()}") as caught:
            await opened("small").open()
        assert (await called("about"))["app"] == "small"

    assert (caught.value.app, caught.value.pid) == ("small", os.getpid())


async def test_the_socket_of_a_dead_process_is_replaced(folder: Path) -> None:
    leave_stale("small")

    async with opened("small"):
        assert (await called("about"))["app"] == "small"


async def test_running_apps_are_those_that_listen(folder: Path) -> None:
    assert running_apps() == []
    leave_stale("dead")

    async with opened("small"), opened("desk"):
        assert await asyncio.to_thread(running_apps) == ["desk", "small"]
    assert running_apps() == []
    assert list((folder / "regrow").iterdir()) == []


async def test_the_end_removes_only_the_own_socket(folder: Path) -> None:
    first = opened("small")
    await first.open()
    socket_path("small").unlink()
    async with opened("small"):
        await first.aclose()

        assert (await called("about"))["app"] == "small"


def leave_stale(app: str) -> None:
    """A socket as a killed process leaves it."""
    control_client.make_runtime_dir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(app)))
        listener.listen()
    assert socket_path(app).exists()


# ---- the client's own troubles -------------------------------------------------------------------


async def test_an_app_that_does_not_run_is_told_with_those_that_do() -> None:
    with pytest.raises(AppNotRunning, match=r"'nix' is running here; start it with: regrow run"):
        await called("about", app="nix")

    async with opened("small"):
        with pytest.raises(AppNotRunning, match="only small"):
            await called("about", app="nix")


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Somebody who listens at the socket of `small` and says only what the test makes it say."""
    control_client.make_runtime_dir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path("small")))
        listener.listen()
        yield listener


async def answer_with(listener: socket.socket, line: bytes) -> Any:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(line)

    asking = asyncio.create_task(called("about"))
    await asyncio.to_thread(serve)
    return await asking


@pytest.mark.parametrize("do", ["about", "tree", "dead_letters", "metrics", "ask", "stop", "kill", "restart"])
async def test_a_process_that_hangs_is_named_and_a_longer_wait_advised_where_one_can_be_had(
    silent: socket.socket, do: str
) -> None:
    advice = "or wait longer with --timeout" if do in ("ask", "stop", "kill", "restart") else "and try again"
    told = f"small did not answer within 0.01 s; look at what its process {os.getpid()} does, {advice}"
    with pytest.raises(TooLate, match=f"^{re.escape(told)}$"):
        await called(do, wait_s=0.01)
    assert owner_of(socket_path("small")) == os.getpid()


async def test_an_end_in_the_middle_of_an_answer_is_told(silent: socket.socket) -> None:
    with pytest.raises(AppNotRunning, match="without an answer"):
        await answer_with(silent, b'{"v": 1, "ok"')


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b"{}\n", b'{"v": 1, "error": 5}\n'])
async def test_an_answer_that_is_none_is_a_bug(silent: socket.socket, line: bytes) -> None:
    with pytest.raises(Bug, match="what is no answer"):
        await answer_with(silent, line)


async def test_a_request_over_the_limit_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_client, "REQUEST_LIMIT_BYTES", 100)

    with pytest.raises(Misuse, match="send less"):
        await called("ask", agent="small/greet", words=["x" * 100])
