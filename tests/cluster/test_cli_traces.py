"""`regrow traces` and `regrow trace`: of apps that are gone, by the beginning of an id, and of ids that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from regrow.cluster.cli import _cli  # pyright: ignore[reportPrivateUsage]
from regrow.cluster.config import Settings
from regrow.cluster.control import ControlSocket
from regrow.cluster.span_store import FILE_NAME, SpanStore
from tests.cluster.span_rows import TRACE, row

OTHER = f"{TRACE[:6]}{'f' * 26}"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Regrow = Callable[..., Said]


@pytest.fixture
def regrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Regrow:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # no app that runs on this machine is asked

    def run(*words: str) -> Said:
        done = CliRunner().invoke(_cli, words)
        return Said(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def stored(tmp_path: Path) -> None:
    """Two apps have run in this folder."""
    for app, trace_id in (("desk", TRACE), ("shop", OTHER)):
        store = SpanStore(tmp_path / ".regrow" / app, limit_bytes=1_000_000)
        store.write([row(1, trace_id=trace_id, name=f"send {app}/a"), row(2, 1, trace_id=trace_id)], {})
        store.close()


@pytest.mark.usefixtures("stored")
def test_traces_of_all_apps_are_listed_or_those_of_one(regrow: Regrow) -> None:
    both, one = regrow("traces"), regrow("traces", "shop", "--json")

    assert (both.code, both.err) == (0, "")
    assert [line.split()[0] for line in both.out.splitlines()] == ["trace", TRACE[:12], OTHER[:12]]
    assert [each["root"] for each in json.loads(one.out)["traces"]] == ["send shop/a"]


@pytest.mark.usefixtures("stored")
async def test_those_of_an_app_that_runs_are_found_from_every_folder(
    regrow: Regrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = tmp_path / ".regrow" / "desk"

    settings = Settings(data_dir=folder)
    async with ControlSocket("desk", engine="inline", request_stop=lambda: None, settings=settings):
        listed = await asyncio.to_thread(regrow, "traces")
        other = await asyncio.to_thread(regrow, "traces", "shop")
        drawn = await asyncio.to_thread(regrow, "trace", TRACE[:7])

    assert [line.split()[0] for line in listed.out.splitlines()] == ["trace", TRACE[:12]]
    assert (other.out, other.code) == ("", 0)
    assert drawn.out.splitlines()[1].startswith("send desk/a")


@pytest.mark.usefixtures("stored")
def test_one_trace_is_drawn_by_the_beginning_of_its_id(regrow: Regrow) -> None:
    drawn, told = regrow("trace", TRACE[:7]), regrow("trace", TRACE, "--json")

    assert (drawn.code, drawn.err) == (0, "")
    assert drawn.out.splitlines()[1].startswith("send desk/a")
    assert [span["name"] for span in json.loads(told.out)["spans"]] == ["send desk/a", "send desk/clerk"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("id", "told"),
    [
        ("abcdef", "there is no trace abcdef: none of those recorded has it; list them with: regrow traces"),
        (TRACE[:6], f"{TRACE[:6]} begins the ids of several traces: {TRACE}, {OTHER}; give more of it"),
        ("'; DROP", '"\'; DROP" is no id of a trace: these are hexadecimal digits, as `regrow traces` shows them'),
        ("", "'' is no id of a trace: these are hexadecimal digits, as `regrow traces` shows them"),
        (f"{TRACE}0", f"'{TRACE}0' is no id of a trace: these are hexadecimal digits, as `regrow traces` shows them"),
    ],
)
def test_an_id_that_is_none_is_answered_with_one_sentence(regrow: Regrow, id: str, told: str) -> None:
    said = regrow("trace", id)

    assert (said.code, said.out, said.err) == (2, "", f"regrow: {told}\n")


def test_where_nothing_was_recorded_that_is_said(regrow: Regrow) -> None:
    said, of_one = regrow("traces"), regrow("trace", "abc")

    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("regrow: no traces were recorded here; switch them on")
    assert of_one.code == 2
    assert "no traces were recorded where the data of apps lies" in of_one.err


def test_a_file_that_can_not_be_read_is_told_in_one_sentence(regrow: Regrow, tmp_path: Path) -> None:
    (tmp_path / ".regrow" / "desk").mkdir(parents=True)
    (tmp_path / ".regrow" / "desk" / FILE_NAME).write_text("no database " * 1_000)

    said = regrow("traces")

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("regrow: the traces in ")
    assert "can not be read (file is not a database)" in said.err
