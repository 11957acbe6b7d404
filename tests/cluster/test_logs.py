"""Logs go to stderr as the settings say, and whoever has set up structlog already keeps that."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from regrow.actors import agent
from regrow.cluster import logs
from regrow.cluster.app import App
from regrow.cluster.config import LogSettings


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """structlog as a program finds it, before and after."""
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    yield
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


def test_an_ask_prints_nothing_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert App("quiet", greet).ask(greet, "world") == "hello world"

    assert capsys.readouterr() == ("", "")
