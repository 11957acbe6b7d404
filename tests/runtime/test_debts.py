"""What an asker is told of a death, and when (design section 3, "An error says what a person needs")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from regrow.runtime.debts import HOLD_S
from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Crashed, ExitReason, Killed
from regrow.runtime.signals import end_text
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Hang, Process, Scripted, for_ever, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext

ANALYST = "desk/analyst"


async def killed_while_asked(process: Process, *, survives_exit: bool = True) -> asyncio.Task[str]:
    """An ask whose agent was killed while it worked on it."""
    analyst = await process.start(ANALYST, for_ever, survives_exit=survives_exit)
    asking = asyncio.ensure_future(analyst.ask(Hang()))
    await settle()
    process.cell(ANALYST).kill("by hand")
    return asking


@virtual
async def test_an_asker_hears_how_soon_the_agent_was_back() -> None:
    process = Process()
    asking = await killed_while_asked(process)

    async def started(ctx: CellContext) -> None:
        await pass_time(0.018)

    await process.start(ANALYST, Scripted(started=started))

    with pytest.raises(AskFailed) as failure:
        await asking
    assert str(failure.value) == (
        "desk/analyst#1 ended while it owed a reply to Hang (Killed (by hand)); it is back after 18 ms; "
        "not retried, since Agent delivers at most once"
    )


@virtual
async def test_an_asker_does_not_wait_for_a_restart_that_takes_its_time() -> None:
    process = Process()
    asking = await killed_while_asked(process)
    loop = asyncio.get_running_loop()
    died_s = loop.time()

    with pytest.raises(AskFailed, match="; its supervisor starts it again unless it is temporary; "):
        await asking

    assert loop.time() - died_s == pytest.approx(HOLD_S)


@virtual
async def test_an_asker_hears_at_once_that_there_will_be_no_restart() -> None:
    process = Process()
    loop = asyncio.get_running_loop()
    asking = await killed_while_asked(process, survives_exit=False)
    died_s = loop.time()

    with pytest.raises(AskFailed, match="; it is not started again; "):
        await asking

    assert loop.time() == died_s


@virtual
async def test_an_asker_hears_at_once_that_the_supervisor_gave_up() -> None:
    process = Process()
    asking = await killed_while_asked(process)

    process.runtime.forget(process.cell(ANALYST).actor)

    with pytest.raises(AskFailed, match="; it is not started again; "):
        await asking


@virtual
async def test_failures_of_two_lives_name_their_own() -> None:
    process = Process()
    first = await killed_while_asked(process)
    second = asyncio.ensure_future(process.ref(ANALYST).ask(Hang()))
    await settle()
    await process.start(ANALYST, for_ever)
    await settle()
    process.cell(ANALYST).kill("again")

    with pytest.raises(AskFailed, match=r"analyst#1 .*\(by hand\)"):
        await first
    with pytest.raises(AskFailed, match=r"analyst#2 .*\(again\)"):
        await second


@pytest.mark.parametrize(
    ("reason", "incarnation", "died"),
    [
        (
            Crashed(
                type_name="ValueError", message="no", traceback='  File "/app/desk.py", line 41, in answer\n    x\n'
            ),
            3,
            "desk/analyst#3 died handling Question (ValueError: no at desk.py:41)",
        ),
        (
            Crashed(type_name="ValueError", message=""),
            3,
            "desk/analyst#3 died handling Question (ValueError)",
        ),
        (
            Killed(detail="out of memory"),
            0,
            "desk/analyst ended while it owed a reply to Question (Killed (out of memory))",
        ),
    ],
    ids=["a crash", "a crash without text", "a kill of an unknown life"],
)
def test_the_text_names_who_died_of_what_where_and_what_comes_next(
    reason: ExitReason, incarnation: int, died: str
) -> None:
    text = end_text(ANALYST, incarnation, reason, "Question", "it is back after 18 ms")

    assert text == f"{died}; it is back after 18 ms; not retried, since Agent delivers at most once"
