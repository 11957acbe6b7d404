"""The loss of many static children at once costs each the same, whatever the rules are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from regrow.runtime.lifecycle import Crashed, Normal
from regrow.runtime.testing import run_virtual
from regrow.supervisors import Supervisor, SupervisorSpec, child
from tests.supervisors.stage import SOON_S, Actor, FarStarter, Stage, pass_time, virtual

FEW, MANY = 40, 160

CRASH = Crashed(type_name="Boom", message="told to")


def ended(stage: Stage) -> None:
    """Every child crashes at the same moment."""
    for id in stage.states():
        stage.cell(id).end(CRASH)


def one_ended(stage: Stage) -> None:
    """One child crashes, and all follow."""
    stage.cell("0").end(CRASH)


def hosts_died(stage: Stage) -> None:
    """Every child goes down with a host of its own."""
    for id in stage.states():
        stage.far.host_dies(f"root/{id}", event=f"host of {id}")


def host_died(stage: Stage) -> None:
    """Every child goes down with one host."""
    stage.far.host_dies(*(f"root/{id}" for id in stage.states()))


def supervisor(count: int, restart: Any = "permanent", **rules: Any) -> SupervisorSpec:
    significant = "auto_shutdown" in rules
    children = [child(Actor, str(number), restart=restart, significant=significant) for number in range(count)]
    return Supervisor(max_restarts=10 * count, children=children, **rules)


def lines_run(spec: SupervisorSpec, lose: Callable[[Stage], None]) -> int:
    """How many lines of the supervisors' code run until all is quiet again."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if "/supervisors/" not in frame.f_code.co_filename or "/tests/" in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    async def run() -> None:
        stage = Stage(FarStarter)
        await stage.start(spec)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            lose(stage)
            await pass_time(SOON_S)
        finally:
            sys.settrace(before)

    run_virtual(run())
    return lines


LOSSES: dict[str, tuple[dict[str, Any], Callable[[Stage], None]]] = {
    "one_for_one, by crashes": ({}, ended),
    "one_for_one, with one host": ({}, host_died),
    "one_for_one, each with a host of its own": ({}, hosts_died),
    "one_for_all, by crashes": ({"strategy": "one_for_all"}, ended),
    "one_for_all, for one of them": ({"strategy": "one_for_all"}, one_ended),
    "rest_for_one, for the first of them": ({"strategy": "rest_for_one"}, one_ended),
    "one_for_all, temporary ones": ({"strategy": "one_for_all", "restart": "temporary"}, ended),
    "rest_for_one, temporary ones": ({"strategy": "rest_for_one", "restart": "temporary"}, ended),
    "significant ones that come back": ({"restart": "transient", "auto_shutdown": "all_significant"}, ended),
    "significant ones that do not": ({"restart": "temporary", "auto_shutdown": "all_significant"}, ended),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", LOSSES)
def test_each_of_many_lost_static_children_costs_the_same(what: str) -> None:
    rules, lose = LOSSES[what]

    few, many = (lines_run(supervisor(count, **rules), lose) for count in (FEW, MANY))

    assert few > 10 * FEW
    assert many <= 1.1 * MANY / FEW * few


@virtual
async def test_the_last_of_many_significant_children_ends_its_supervisor_whoever_comes_back_before() -> None:
    stage = Stage()
    await stage.start(supervisor(4, "transient", auto_shutdown="all_significant"))

    for id in ("0", "2", "1"):
        stage.cell(id).end(Normal())
        await pass_time(SOON_S)
    await stage.supervisor().restart_child("2")
    stage.cell("3").end(Normal())
    await pass_time(SOON_S)

    assert stage.alive() == {"2"}
    stage.cell("2").end(Normal())
    await pass_time(SOON_S)
    assert not stage.runtime.cells
