"""Logs go to stderr as the settings say, and whoever has set up structlog already keeps that."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Literal

import pytest
import structlog
from opentelemetry.trace import Tracer

from regrow.actors import Agent, Context, agent, on
from regrow.cluster import logs
from regrow.cluster.app import App
from regrow.cluster.config import LogSettings, Settings
from regrow.cluster.log_redaction import LINE_CHARS, LogRedaction
from regrow.cluster.ray_output import parted
from regrow.runtime import Message, Request
from regrow.runtime.redaction import REDACTED
from tests.runtime.test_telemetry import Traces


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """structlog as a program finds it, before and after."""
    monkeypatch.setattr(logs, "_patterns", {})
    before, last_resort = structlog.get_config() if structlog.is_configured() else None, logging.lastResort
    structlog.reset_defaults()
    yield
    logging.lastResort = last_resort
    structlog.reset_defaults()
    if before is not None:
        structlog.configure(**before)


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


def test_lines_go_to_stderr_with_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings())

    structlog.get_logger("regrow").warning("redis_died", pid=5)

    out, err = capsys.readouterr()
    assert out == ""
    assert "redis_died" in err
    assert "pid=5" in err


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="warning"))

    structlog.get_logger("regrow").info("redis_started")

    assert capsys.readouterr().err == ""


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"))

    try:
        raise ValueError("no key")
    except ValueError:
        structlog.get_logger("regrow").bind(agent="desk/clerk").exception("crashed", at=object)

    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["event"], line["agent"]) == ("error", "crashed", "desk/clerk")
    assert line["exception"][0]["exc_value"] == "no key"


def test_the_last_settings_hold_also_for_loggers_that_were_used_before(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("regrow")
    logs.configure(LogSettings(level="error"))
    log.info("one")
    logs.configure(LogSettings(level="debug"))
    log.debug("two")

    err = capsys.readouterr().err
    assert "one" not in err
    assert "two" in err


def test_a_configuration_of_the_program_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer(key_order=["event"])])

    logs.configure(LogSettings(level="error"))
    structlog.get_logger("regrow").info("mine")

    assert capsys.readouterr().out == "event='mine'\n"


def test_chatty_libraries_are_quiet_unless_the_program_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    chatty, told = logging.getLogger("httpx"), logging.getLogger("openai")
    monkeypatch.setattr(chatty, "level", logging.NOTSET)
    monkeypatch.setattr(told, "level", logging.DEBUG)

    logs.configure(LogSettings())

    assert (chatty.level, told.level) == (logging.WARNING, logging.DEBUG)


def test_lines_by_pythons_logging_are_lines_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"))

    plain.info("not that important")
    try:
        raise ValueError("no key")
    except ValueError:
        plain.exception("it failed, %d times", 3)

    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["event"], line["logger"]) == ("error", "it failed, 3 times", "plain")
    assert line["exception"][0]["exc_value"] == "no key"


def test_a_handler_of_the_programs_own_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"))
    own = logging.StreamHandler()
    plain.addHandler(own)

    plain.warning("mine")
    plain.removeHandler(own)

    assert capsys.readouterr().err == "mine\n"


def test_a_line_that_does_not_fit_its_arguments_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"))

    plain.warning("%d of them", "many")

    assert "Logging error" in capsys.readouterr().err


def test_an_ask_prints_nothing_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert App("quiet", greet).ask(greet, "world") == "hello world"

    assert capsys.readouterr() == ("", "")


# ---- secrets --------------------------------------------------------------------------------------

TOKEN = "sk-proj-abcdefghijklmnop1234"


def tell_secrets() -> None:
    """Lines with a secret in each place where there may be one."""
    log = structlog.get_logger("regrow")
    log.warning("no such key %s", TOKEN, agent="desk/ada@example.com", reason=ValueError(TOKEN), password="hunter22")
    log.warning("asked", headers={"authorization": "Bearer hunter22", "list": [TOKEN, {"EMP-17": 3}]}, pin=1234)
    try:
        secret = TOKEN
        raise ConnectionError(f"https://ada:hunter22@example.com refuses {secret[:3]}{secret[3:]}")
    except ConnectionError as error:
        error.add_note(f"by {TOKEN}")
        log.exception("it failed")
        plain.exception("failed with %s", TOKEN)


@pytest.mark.parametrize("format", ["json", "console"])
def test_what_looks_like_a_secret_is_in_no_line_whoever_writes_it(
    format: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSettings(format=format), redact=(r"EMP-\d+",))

    tell_secrets()

    err = capsys.readouterr().err
    assert not [secret for secret in (TOKEN, "hunter22", "EMP-17") if secret in err]
    for kept in ("desk/ada@example.com", "1234", "ConnectionError", "refuses", "no such key [redacted]"):
        assert kept in err
    assert err.count(REDACTED) >= 10


def test_a_line_in_json_keeps_its_form_and_the_values_of_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"))

    tell_secrets()
    structlog.get_logger("regrow").warning("set aside", command="019ab2d4-6c00-7000-8000-000000000001")

    first, asked, failed, by_logging, aside = map(json.loads, capsys.readouterr().err.splitlines())
    assert aside["command"] == "019ab2d4-6c00-7000-8000-000000000001"  # which has the form of a card's number
    assert (first["reason"], first["password"]) == (REDACTED, REDACTED)
    assert asked["headers"] == {"authorization": REDACTED, "list": [REDACTED, {"EMP-17": 3}]}
    assert asked["pin"] == 1234
    for line in (failed, by_logging):
        (told,) = line["exception"]
        assert (told["exc_type"], told["exc_notes"]) == ("ConnectionError", [f"by {REDACTED}"])
        assert all("locals" not in frame or frame["locals"] is None for frame in told["frames"])
    assert by_logging["event"] == f"failed with {REDACTED}"


def test_the_patterns_of_all_apps_of_a_process_are_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(), redact=(r"ROOM-\d+",))
    logs.configure(LogSettings(format="json"), redact=(r"DOOR-\d+",))

    structlog.get_logger("regrow").warning("ROOM-1 has DOOR-2")

    assert json.loads(capsys.readouterr().err)["event"] == f"{REDACTED} has {REDACTED}"


def test_what_a_line_costs_is_bounded_and_of_a_long_text_its_beginning_and_end_are_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(LogSettings(format="json"))
    searched: list[int] = []

    def redact(text: str) -> str:
        searched.append(len(text))
        return text

    line = LogRedaction(redact)(
        None,
        "warning",
        {
            "text": f"begins {'x y ' * 1_000_000} ends",
            "more": "z " * 500_000,
            "many": list(range(100_000)),
        },
    )

    assert sum(searched) < 3 * LINE_CHARS
    assert (line["text"][:6], line["text"][-4:], line["more"]) == ("begins", "ends", "…")
    assert len(line["many"]) < 1_000
    assert capsys.readouterr().err == ""


class Mute:
    """Has nothing to say of itself."""

    def __str__(self) -> str:
        raise ValueError("mute")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_value_that_holds_itself_is_deep_or_can_not_be_told_costs_nobody_who_logs_it_an_error(
    format: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSettings(format=format))
    itself: dict[str, Any] = {"begins": "here"}
    itself["again"] = [itself]
    deep: list[Any] = []
    for _ in range(2_000):
        deep = [deep]

    structlog.get_logger("regrow").warning("odd", itself=itself, deep=deep, keys={Mute(): 1}, password=itself)

    err = capsys.readouterr().err
    assert "begins" in err
    assert "Mute.__str__ raised ValueError" in err
    assert len(err) < 4_000


# ---- what lines are about ---------------------------------------------------------------------------

library = structlog.get_logger("library")
plain = logging.Logger("plain")  # noqa: LOG001 # below no other, since pytest gives all that are handlers of its own


class Say(Request[int]):
    """Gives the incarnation that says it."""


class Fall(Message):
    pass


class Speaker(Agent):
    @on
    async def say(self, _: Say, ctx: Context) -> int:
        ctx.log.info("by its context")
        library.info("by a library")
        plain.warning("by %s", "logging")
        library.info("about another", agent="desk/other")
        library.info("about a life", receiver="desk/other", incarnation=77)
        await asyncio.to_thread(library.info, "in a thread")
        return ctx.incarnation

    @on
    async def fall(self, _: Fall) -> None:
        raise ValueError("fallen")


async def said(capsys: pytest.CaptureFixture[str], tracer: Tracer | None = None) -> tuple[int, dict[str, Any]]:
    """The incarnation of an agent that logs in a turn, and each line of it in JSON."""
    settings = Settings(log=LogSettings(format="json", level="debug"))
    async with App("desk", Speaker).start(engine="inline", settings=settings) as running:
        library.info("outside of a turn")
        with tracer.start_as_current_span("asked") if tracer is not None else nullcontext():
            incarnation = await running.ref(Speaker).ask(Say())
        await running.ref(Speaker).tell(Fall())
        await running.ref(Speaker).ask(Say())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return incarnation, {line["event"]: line for line in reversed(lines)}


async def test_each_line_of_a_turn_names_agent_and_incarnation_whoever_writes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    incarnation, lines = await said(capsys)

    for event in ("by its context", "by a library", "by logging", "in a thread"):
        assert (lines[event]["agent"], lines[event]["incarnation"]) == ("desk/speaker", incarnation)
        assert "trace" not in lines[event]
        assert lines[event]["process"] == os.getpid()
    assert {"agent", "incarnation", "trace"}.isdisjoint(lines["outside of a turn"])


async def test_a_line_about_another_agent_gets_nothing_of_the_one_whose_turn_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, lines = await said(capsys)

    assert lines["about another"]["agent"] == "desk/other"
    assert "incarnation" not in lines["about another"]
    assert lines["about a life"]["incarnation"] == 77
    assert "agent" not in lines["about a life"]


async def test_what_the_runtime_says_of_an_agent_names_it_and_its_life(capsys: pytest.CaptureFixture[str]) -> None:
    incarnation, lines = await said(capsys)

    dead = lines["restarting"]
    assert (dead["agent"], dead["incarnation"]) == ("desk/speaker", incarnation)
    letter = lines["dead letter"]
    assert (letter["receiver"], letter["incarnation"]) == ("desk/speaker", incarnation)


async def test_lines_of_a_turn_that_is_in_a_trace_carry_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    traces = Traces()

    _, lines = await said(capsys, traces.tracer)

    asked = traces.spans["asked"].context
    assert asked is not None
    trace = f"{asked.trace_id:032x}"
    for event in ("by its context", "by a library", "in a thread", "about another"):
        assert lines[event]["trace"] == trace


def test_lines_of_workers_in_json_come_as_they_were_written_and_all_others_as_ray_shows_them() -> None:
    ours = '{"event": "host died", "level": "warning", "timestamp": "2026-11-28T10:00:00Z"}'
    others = ['{"event": 1}', "{not JSON}", "[1]", "Traceback", "", '{"a": ' * 9_000]

    assert parted([others[0], ours, *others[1:], ours]) == ([ours, ours], others)
