"""Tests do not wait for the clock."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.tidy.conftest import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tidy.conftest import House, Source


def sleeps(source: Source) -> Iterator[ast.Call]:
    """Calls that wait for a time: all but `asyncio.sleep(0)`, which only lets others run."""
    called = {"time.sleep", "asyncio.sleep"}
    called |= {"sleep" for item in source.imports() if item.name == "sleep" and item.module in ("time", "asyncio")}
    for call in source.nodes(ast.Call):
        gives_way = bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
        if ast.unparse(call.func) in called and not gives_way:
            yield call


def test_no_test_sleeps(house: House) -> None:
    refuse(
        (f"{source.name}:{call.lineno}: {ast.unparse(call)}" for source in house.tests for call in sleeps(source)),
        "A sleep is too long or too short; advance the virtual clock, or wait for the event:",
    )
