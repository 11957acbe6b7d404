"""An inline app whose agents die: what is kept of it, what is not, and what trouble with keeping it costs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from regrow.actors import Agent, DurableAgent, DurableContext, on
from regrow.cluster import answers, live_agent, set_aside
from regrow.cluster.app import App, Running
from regrow.cluster.cli import _cli  # pyright: ignore[reportPrivateUsage]
from regrow.cluster.config import IncidentSettings, Settings, TracingSettings
from regrow.cluster.control import ControlSocket
from regrow.cluster.errors import IncidentsUnreadable, NoSuchAgent, NothingKnown
from regrow.cluster.incident_store import ENDS_READ, FILE_NAME, IncidentStore
from regrow.cluster.incidents import LOSSES_PER_S
from regrow.cluster.past_incidents import found_of
from regrow.cluster.why import decision_text, in_quarantine, retries_of
from regrow.cluster.why_advice import what_next
from regrow.cluster.why_told import told
from regrow.cluster.why_views import show
from regrow.runtime import ActorId, Message, Refused
from regrow.runtime.deaths import RECENT
from regrow.runtime.journal_entries import JournalLimits
from regrow.supervisors import Supervisor, child
from tests.cluster.incident_rows import death
from tests.integration.waiting import until


class Note(Message):
    text: str


ended = asyncio.Event()
"""Until it is set, a clerk that was told to wait does."""


class Clerk(Agent):
    @on
    async def note(self, message: Note) -> None:
        if message.text == "no":
            raise Refused("not that")
        if message.text.startswith("no "):
            raise Refused(f"not that, {message.text.removeprefix('no ')}")
        if message.text == "fall":
            raise ValueError("it \x1b[31mfell")
        if message.text == "wait":
            await ended.wait()
        if message.text.startswith("fall "):
            raise ValueError(message.text.removeprefix("fall "))


class Scribe(Agent): ...


DESK = App("desk", Supervisor(max_restarts=2, children=[child(Clerk), child(Scribe)]))


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
    assert "mend ValueError" in what_next(found)[0].text


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
    assert "desk gave up because of desk/clerk: 3 restarts" in what_next(found)[0].text


async def test_of_a_sibling_it_is_told_who_took_it_along_when_the_app_is_gone(settings: Settings) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, "fall", "fall", "fall")
        await running.wait_ended()

    found = found_of(settings, "desk/scribe")
    assert what_next(found)[0].command == "regrow why desk/clerk"
    assert any("nothing is kept of desk/scribe itself" in each for each in found.unknown)


async def test_a_secret_in_the_text_of_an_error_is_kept_nowhere(settings: Settings) -> None:
    own = settings.model_copy(update={"tracing": TracingSettings(redact=(r"EMP-\d+",))})
    async with DESK.start(engine="inline", settings=own) as running:
        await had(running, "fall with sk-abcdefghijklmnop1234567890 of EMP-4711")
        await restarted(running, 1)

    kept = b"".join(file.read_bytes() for file in settings.data_dir_of("desk").iterdir())
    assert b"sk-abc" not in kept
    assert b"EMP-4711" not in kept
    (death,) = found_of(settings, "desk/clerk").deaths
    assert death.reason["text"] == "ValueError: with [redacted] of [redacted]"


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
    assert [each["fate"] for each in death.messages] == ["quarantined"]
    assert found.losses == ()
    assert what_next(found)[0].command.startswith("regrow quarantine show desk/bookkeeper@0")
    (row,) = in_quarantine(found)
    assert (row["message"], row["sender"]) == ("Note", "outside")
    assert row["reason"] == "1 attempts failed, the last with ValueError: it can not be booked"


class Cashier(DurableAgent[Books]):
    @on
    async def note(self, message: Note, ctx: DurableContext) -> None:
        await ctx.step(message.text, receipt, idempotent=False)


async def receipt() -> str:
    return "x" * (JournalLimits().blob_bytes + 1)  # more than is kept of a step: its message is set aside at once


async def test_a_message_that_is_set_aside_without_a_death_is_told_until_a_person_has_decided(
    settings: Settings,
) -> None:
    app = App("desk", Supervisor(children=[child(Cashier)]), journal="memory")

    async with app.start(engine="inline", settings=settings) as running:
        await running.ref(Cashier).tell(Note(text="a"))
        await running.ref(Cashier).tell(Note(text="b"))

        async def both() -> list[str]:
            rows = (await set_aside.listed(running, "desk/cashier"))["messages"]
            return [row["id"] for row in rows] if len(rows) == 2 else []

        first, second = await until(both, "both are set aside")
        had = await running.engine.messages(ActorId("desk/cashier"))
        assert had is not None
        assert [each.fate for each in had] == ["quarantined", "quarantined"]
        await set_aside.decided(running, first, set_aside.Decision.DROP, None)

    found = found_of(settings, "desk/cashier")
    assert found.deaths == found.losses == ()
    assert [row["id"] for row in in_quarantine(found)] == [second]
    assert what_next(found)[0].command == f"regrow quarantine show {second}"
    assert decision_text(found.decisions[0]) == f"a person ordered: drop of {first}"


async def test_the_verb_answers_with_json_and_for_who_is_not_there_with_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_DATA_DIR", str(settings.data_dir))
    async with DESK.start(engine="inline", settings=settings) as running:
        await had(running, "fall")
        await restarted(running, 1)

    good, unknown, none, app = (
        CliRunner().invoke(_cli, ["why", *words])
        for words in (["desk/clerk", "--json"], ["desk/clark"], ["/clerk"], ["desk"])
    )

    assert (good.exit_code, json.loads(good.stdout)["agent"]) == (0, "desk/clerk")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "did you mean desk/clerk?" in unknown.stderr
    assert (none.exit_code, none.stderr.count("\n")) == (2, 1)
    assert app.exit_code == 0
    assert "regrow why desk/clerk" in app.stdout
    assert "crashed: Note from app:desk to desk/clerk" in app.stdout


@pytest.fixture
async def control(nobody_runs: None, settings: Settings) -> AsyncIterator[ControlSocket]:
    async with ControlSocket("desk", engine="inline", request_stop=lambda: None, settings=settings) as control:
        yield control


async def test_where_no_app_of_that_name_runs_those_that_do_are_named(
    settings: Settings, control: ControlSocket
) -> None:
    for name, answer in (
        ("desks/clerk", r"did you mean desk/clerk\? These apps run here: desk"),
        ("clerk", "; these apps run here: desk; write APP or APP/AGENT"),
    ):
        with pytest.raises(NothingKnown, match=answer):
            await asyncio.to_thread(found_of, settings, name)


async def test_of_an_app_that_runs_what_is_kept_is_found_from_every_folder(
    settings: Settings, control: ControlSocket, tmp_path: Path
) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        control.attach(running)
        await had(running, "fall")
        await restarted(running, 1)

        async def kept() -> list[object]:
            elsewhere = Settings(data_dir=tmp_path / "elsewhere")
            return list((await asyncio.to_thread(found_of, elsewhere, "desk/clerk")).deaths)

        assert len(await until(kept, "its death is found")) == 1


async def test_of_an_agent_that_lives_and_never_died_its_messages_are_told_and_what_it_handles(
    settings: Settings, control: ControlSocket
) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        control.attach(running)
        await had(running, "well", "no", "wait")
        await until(lambda: running.engine.runtime.cells[ActorId("desk/clerk")].in_turn, "it handles the last one")

        found = await asyncio.to_thread(found_of, settings, "desk/clerk")
        nobody = asyncio.to_thread(found_of, settings, "desk/clark")
        with pytest.raises(NoSuchAgent, match=r"did you mean desk/clerk\?"):
            await nobody
        ended.set()

    assert found.messages is not None
    assert [(each["fate"], each["why"]) for each in found.messages] == [
        ("handled", ""),
        ("refused", "Refused: not that"),
        ("under way", ""),
    ]
    assert found.started_ms <= found.looked_ms


async def test_it_is_told_for_how_long_a_message_has_been_under_way(settings: Settings) -> None:
    async with DESK.start(engine="inline", settings=settings) as running:
        ended.clear()
        await had(running, "wait")

        async def age_s() -> float:
            told = await running.engine.messages(ActorId("desk/clerk"))
            assert told is not None
            return told[0].age_s if told else 0.0

        assert await until(age_s, "it has been so for a while") > 0
        ended.set()


async def test_a_secret_in_why_a_message_was_refused_is_kept_and_told_nowhere(
    settings: Settings, control: ControlSocket
) -> None:
    own = settings.model_copy(update={"tracing": TracingSettings(redact=(r"EMP-\d+",))})
    async with DESK.start(engine="inline", settings=own) as running:
        control.attach(running)
        await had(running, "no EMP-4711")
        live = await asyncio.to_thread(found_of, own, "desk/clerk")
        await had(running, "fall")
        await restarted(running, 1)

    assert live.messages is not None and live.messages[0]["why"] == "Refused: not that, [redacted]"
    (death,) = (await asyncio.to_thread(found_of, own, "desk/clerk")).deaths
    assert death.messages is not None and death.messages[0]["why"] == "Refused: not that, [redacted]"
    kept = b"".join(file.read_bytes() for file in own.data_dir_of("desk").iterdir())
    assert b"EMP-4711" not in kept


class Consent(Message):
    by: str


class Doorkeeper(DurableAgent[Books]):
    @on
    async def note(self, message: Note, ctx: DurableContext) -> None:
        await ctx.wait_for(Consent, timeout_s=60)


async def test_what_waits_for_an_answer_is_told_and_is_not_called_handled(
    settings: Settings, control: ControlSocket
) -> None:
    app = App("desk", Supervisor(children=[child(Doorkeeper)]), journal="memory")
    async with app.start(engine="inline", settings=settings) as running:
        control.attach(running)
        await running.ref(Doorkeeper).tell(Note(text="x"))
        (row,) = await until(running.waits, "it waits")

        found = await asyncio.to_thread(found_of, settings, "desk/doorkeeper")
        all_of_it = await asyncio.to_thread(found_of, settings, "desk")

    assert found.messages is not None
    assert [each["fate"] for each in found.messages] == ["waiting"]
    assert [each["id"] for each in found.waits] == [each["id"] for each in all_of_it.waits] == [row["id"]]
    assert what_next(found)[0].command == f"regrow approve {row['id']}"


async def test_of_a_durable_agent_its_journal_tells_how_turns_ended_and_what_was_tried_again(
    settings: Settings, control: ControlSocket
) -> None:
    app = App("desk", Supervisor(children=[child(Bookkeeper)]), journal="memory")
    async with app.start(engine="inline", settings=settings) as running:
        control.attach(running)
        await running.ref(Bookkeeper).tell(Note(text="x"))
        await restarted(running, 1)

        found = await asyncio.to_thread(found_of, settings, "desk/bookkeeper")

    (turn,) = found.history
    assert (turn["message"], turn["outcome"], turn["failed_before"]) == ("Note", "quarantined", 1)
    assert "fields" not in json.dumps(told(found))
    assert [(each.failed, each.outcome) for each in retries_of(found)] == [(1, "quarantined")]
    assert found.unknown == ()


async def test_an_app_that_does_not_answer_costs_a_bounded_time_and_hides_nothing_that_is_kept(
    settings: Settings, control: ControlSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = asyncio.Event()  # or the socket waits for its answer at the end

    async def late(running: Running, agent: str) -> dict[str, object]:
        await is_over.wait()
        return {"messages": []}

    monkeypatch.setattr(live_agent, "ANSWER_S", 0.05)
    monkeypatch.setattr(set_aside, "listed", late)
    async with DESK.start(engine="inline", settings=settings) as running:
        control.attach(running)
        await had(running, "fall")
        await restarted(running, 1)

        found = await asyncio.to_thread(found_of, settings, "desk/clerk")
        is_over.set()

    assert found.quarantined is None
    assert any("quarantine (its journal did not answer within 0.05 s" in each for each in found.unknown)
    assert found.messages is not None


async def test_all_that_is_asked_of_an_app_is_asked_at_once(
    settings: Settings, control: ControlSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = asyncio.Barrier(2)

    async def none_of_both(running: Running, agent: str) -> dict[str, object]:
        await both.wait()
        return {"messages": [], "waits": []}

    monkeypatch.setattr(live_agent, "ANSWER_S", 2.0)
    monkeypatch.setattr(set_aside, "listed", none_of_both)
    monkeypatch.setattr(answers, "waits", none_of_both)
    async with DESK.start(engine="inline", settings=settings) as running:
        control.attach(running)

        found = await asyncio.to_thread(found_of, settings, "desk/clerk")

    assert (found.quarantined, found.unknown) == ((), ())


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

    with pytest.raises(NothingKnown, match=r"desk does not run.*did you mean desk/clerk\?"):
        found_of(settings, "desk/clark")
    with pytest.raises(NothingKnown, match=r"nothing is kept in .*/desk/other; nor is anything kept of any other"):
        found_of(settings.model_copy(update={"data_dir": settings.data_dir_of("desk") / "other"}), "desk/clerk")


def test_of_a_supervisor_it_is_told_who_died_below_it_when_the_app_is_gone(settings: Settings) -> None:
    settings.data_dir_of("desk").mkdir()
    store = IncidentStore(settings.data_dir_of("desk"), limit_bytes=1_000_000)
    store.write([death(1, agent="desk/team/ann"), death(2, agent="desk/teamster")], {})
    store.close()

    (advice,) = what_next(found_of(settings, "desk/team"))
    assert advice.command == "regrow why desk/team/ann"
    with pytest.raises(NothingKnown):
        found_of(settings, "desk/tea")


@pytest.mark.parametrize(("deaths", "is_said"), [(ENDS_READ - 1, False), (ENDS_READ + 1, True)])
def test_where_more_have_died_than_are_counted_that_is_said(settings: Settings, deaths: int, is_said: bool) -> None:
    settings.data_dir_of("desk").mkdir()
    store = IncidentStore(settings.data_dir_of("desk"), limit_bytes=16_000_000)
    store.write([death(number, agent=f"desk/team/{number}") for number in range(deaths)], {})
    store.close()

    for who in ("desk", "desk/team"):
        assert any(f"the latest {ENDS_READ:,} words" in each for each in found_of(settings, who).unknown) is is_said
    assert not any("words" in each for each in found_of(settings, f"desk/team/{deaths - 1}").unknown)


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
