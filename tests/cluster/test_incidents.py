"""An inline app whose agents die: what is kept of it, what is not, and what trouble with keeping it costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from regrow.actors import Agent, DurableAgent, on
from regrow.cluster.app import App, Running
from regrow.cluster.cli import _cli  # pyright: ignore[reportPrivateUsage]
from regrow.cluster.config import IncidentSettings, Settings
from regrow.cluster.errors import IncidentsUnreadable, NoSuchAgent
from regrow.cluster.incident_store import FILE_NAME
from regrow.cluster.incidents import LOSSES_PER_S
from regrow.cluster.past_incidents import found_of
from regrow.cluster.why import told
from regrow.cluster.why_views import show
from regrow.runtime import Message, Refused
from regrow.runtime.deaths import RECENT
from regrow.supervisors import Supervisor, child
from tests.integration.waiting import until


class Note(Message):
    text: str


class Clerk(Agent):
    @on
    async def note(self, message: Note) -> None:
        if message.text == "no":
            raise Refused("not that")
        if message.text == "fall":
            raise ValueError("it \x1b[31mfell")
        if message.text == "fall badly":
            raise ValueError("badly")


DESK = App("desk", Supervisor(max_restarts=2, children=[child(Clerk)]))


@pytest.fixture(autouse=True)
def nobody_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No app that runs on this machine is asked."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "desk")


async def had(running: Running, *texts: str) -> None:
    for text in texts:
        await running.ref(Clerk).tell(Note(text=text))


async def restarted(running: Running, times: int) -> None:
    async def has_come_back() -> bool:
        (root, *_) = await running.tree()
        return root.children[0].restarts == times and root.children[0].state == "running"

    await until(has_come_back, "it is back")


async def test_a_death_is_told_with_its_messages_and_what_was_decided_when_the_app_is_gone(settings: Settings) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, *["secret"] * RECENT, "no", "fall")
        await restarted(running, 1)

    found = found_of(settings, "desk/clerk")
    (death,) = found.deaths
    assert (death.reason["kind"], death.reason["text"]) == ("crashed", "ValueError: it \x1b[31mfell")
    assert death.reason["place"].startswith("test_incidents.py:")
    assert death.messages is not None
    assert [each["fate"] for each in death.messages] == [*["handled"] * (RECENT - 2), "refused", "crashed"]
    assert {each["sender"] for each in death.messages} == {"app:desk"}
    assert [each.about.get("kind") for each in found.decisions] == ["restarting", "child_started", "child_terminated"]
    assert [each.about["reason"] for each in found.losses] == ["refused", "crashed"]
    assert "secret" not in json.dumps(told(found))
    assert "mend ValueError" in told(found)["next"][0]["text"]


async def test_lives_of_two_runs_have_the_same_numbers_and_are_not_taken_for_one(settings: Settings) -> None:
    for text in ("fall", "fall badly"):
        async with DESK.start(engine="inline", settings=settings) as running:
            await had(running, text)
            await restarted(running, 1)

    first, second = found_of(settings, "desk/clerk").deaths
    assert first.incarnation == second.incarnation
    assert (first.reason["text"], second.reason["text"]) == ("ValueError: it \x1b[31mfell", "ValueError: badly")
    assert first.messages is not None and len(first.messages) == 1


async def test_where_a_supervisor_gives_up_its_end_is_told_with_the_child_that_was_the_cause(
    settings: Settings,
) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, "fall", "fall", "fall")
        await running.wait_ended()

    found = found_of(settings, "desk/clerk")
    assert [each.reason["kind"] for each in found.above] == ["escalated"]
    assert "desk gave up because of desk/clerk: 3 restarts" in told(found)["next"][0]["text"]


class Books(BaseModel):
    notes: int = 0


class Bookkeeper(DurableAgent[Books]):
    poison_after = 1

    @on
    async def note(self, message: Note) -> None:
        raise ValueError("it can not be booked")


async def test_a_message_that_was_set_aside_is_named_when_the_app_is_gone(settings: Settings) -> None:
    app = App("desk", Supervisor(children=[child(Bookkeeper)]), journal="memory")
    async with app.start(engine="inline", settings=settings) as running:
        await running.ref(Bookkeeper).tell(Note(text="x"))
        await restarted(running, 1)

    found = found_of(settings, "desk/bookkeeper")
    (death,) = found.deaths
    assert death.messages is not None
    assert [each["fate"] for each in death.messages] == ["quarantined", "crashed"]
    assert told(found)["next"][0]["command"].startswith("regrow quarantine show desk/bookkeeper@0")


async def test_the_verb_answers_with_json_and_for_who_is_not_there_with_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_DATA_DIR", str(settings.data_dir))
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, "fall")
        await restarted(running, 1)

    good, unknown, none = (
        CliRunner().invoke(_cli, ["why", *words]) for words in (["desk/clerk", "--json"], ["desk/clark"], ["desk"])
    )

    assert (good.exit_code, json.loads(good.stdout)["agent"]) == (0, "desk/clerk")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "did you mean desk/clerk?" in unknown.stderr
    assert (none.exit_code, none.stderr.count("\n")) == (2, 1)


async def test_an_app_in_which_nothing_goes_wrong_leaves_no_file(settings: Settings) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, "well")

    assert not settings.data_dir_of("desk").exists()


async def test_with_no_room_for_them_none_are_kept(settings: Settings) -> None:
    off = settings.model_copy(update={"incidents": IncidentSettings(store_mb=0)})
    async with DESK.start(engine="inline", settings=off) as running:
        await had(running, "fall")
        await restarted(running, 1)

    assert not settings.data_dir_of("desk").exists()


async def test_a_flood_of_dead_letters_is_kept_in_part_and_the_rest_is_counted(settings: Settings) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, *["no"] * (5 * LOSSES_PER_S))
        await had(running, "fall")
        await restarted(running, 1)

    found = found_of(settings, "desk/clerk")
    assert len(found.deaths) == 1
    assert found.left_out["losses"] > 0
    assert any("not kept" in each for each in found.unknown)


async def test_a_folder_that_can_not_be_written_costs_incidents_and_no_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "desk").write_text("a file where the folder should be")
    async with DESK.start(engine="inline", settings=Settings(data_dir=tmp_path / "desk")) as running:
        await had(running, "fall", "well")
        await restarted(running, 1)

    told = "".join(capfd.readouterr())
    assert told.count("incidents were dropped") == 1


async def test_an_agent_that_nobody_knows_is_one_sentence_with_the_nearest_name(settings: Settings) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, "fall")
        await restarted(running, 1)

    with pytest.raises(NoSuchAgent, match="did you mean desk/clerk"):
        found_of(settings, "desk/clark")


def test_a_file_that_can_not_be_read_is_one_sentence(settings: Settings) -> None:
    settings.data_dir_of("desk").mkdir()
    (settings.data_dir_of("desk") / FILE_NAME).write_text("no database " * 1_000)

    with pytest.raises(IncidentsUnreadable, match="file is not a database"):
        found_of(settings, "desk/clerk")


async def test_what_a_terminal_would_obey_is_shown_as_a_sign_in_why(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, "fall")
        await restarted(running, 1)
    capsys.readouterr()

    show(found_of(settings, "desk/clerk"), to=sys.stdout)

    shown = capsys.readouterr().out
    assert "ValueError: it ·[31mfell" in shown
    assert "\x1b" not in shown
    assert "what to do next\n  → mend ValueError" in shown
