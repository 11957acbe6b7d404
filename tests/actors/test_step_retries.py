"""Steps that fail and are tried again: how often, after which errors, and what counts after a crash (SEMANTICS 6)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, Retries, Step, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.errors import Misuse
from regrow.runtime.lifecycle import Crashed
from regrow.runtime.message import Request
from regrow.runtime.retry_budget import MAX_NAMES, PER_SUCCESS, TOKENS, RetryBudget
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

PAYER = "desk/payer"


class Paid(BaseModel):
    total: int = 0


class Pay(Request[int]):
    amount: int
    attempts: int = 3
    wait_s: float = 0.0
    idempotent: bool = True
    name: str = "charge"
    on_all: bool = False


class World:
    """The bank, and how often it will refuse."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.keys: list[str] = []
        self.crashes = 0
        self.gives: object = None


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agent knows


def charge(amount: int, step: Step) -> Any:
    world.keys.append(step.key)
    if world.failures:
        raise world.failures.pop(0)
    return world.gives if world.gives is not None else amount


class Payer(DurableAgent[Paid]):
    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> int:
        retries = Retries(
            on=Exception if request.on_all else OSError,
            attempts=request.attempts,
            first_wait_s=request.wait_s,
            longest_wait_s=request.wait_s,
        )
        self.state.total += await ctx.step(
            request.name, charge, request.amount, idempotent=request.idempotent, retries=retries
        )
        if world.crashes:
            world.crashes -= 1
            raise ValueError("as the test wants it")
        return self.state.total


async def bank() -> Host:
    host = await Host.on(memory_journal())
    assert await host.start(Payer, PAYER) is None
    return host


@on_virtual_time
async def test_a_step_that_fails_is_tried_again_under_the_same_key() -> None:
    host = await bank()
    world.failures = [OSError("busy"), OSError("busy")]

    assert await host.ref(PAYER).ask(Pay(amount=5)) == 5

    assert len(world.keys) == 3 and len(set(world.keys)) == 1


@on_virtual_time
async def test_a_turn_that_is_run_again_has_the_result_of_the_attempt_that_succeeded() -> None:
    host = await bank()
    world.failures = [OSError("busy")]
    world.crashes = 1

    assert await host.ref(PAYER).ask(Pay(amount=5)) == 5

    assert len(world.keys) == 2


@on_virtual_time
async def test_attempts_that_an_earlier_run_made_count_and_the_message_is_set_aside_in_the_end() -> None:
    host = await bank()
    world.failures = [OSError("busy")] * 100

    with pytest.raises(InQuarantine) as failed:
        await host.ref(PAYER).ask(Pay(amount=5), timeout_s=60)

    assert len(world.keys) == 3
    (row,) = await host.quarantined(PAYER)
    assert "StepFailed" in str(failed.value) and "has failed 3 times" in str(failed.value) and row.agent == PAYER


@on_virtual_time
async def test_an_error_of_another_class_is_not_tried_again() -> None:
    host = await bank()
    world.failures = [ValueError("never")]

    assert await host.ref(PAYER).ask(Pay(amount=5)) == 5  # in the next life, which runs the turn again

    assert len(world.keys) == 2
    ((_, reason),) = host.ends
    assert isinstance(reason, Crashed) and reason.type_name == "ValueError"


@on_virtual_time
async def test_a_result_that_can_not_be_stored_is_no_reason_to_run_its_step_again() -> None:
    host = await bank()
    world.gives = object()

    with pytest.raises(InQuarantine, match="InvalidMessage"):
        await host.ref(PAYER).ask(Pay(amount=5, on_all=True), timeout_s=60)

    assert len(world.keys) == 3  # once in each run of its turn, until it is set aside


@on_virtual_time
async def test_no_attempt_begins_after_the_deadline_of_the_ask() -> None:
    host = await bank()
    world.failures = [OSError("busy")] * 100

    with pytest.raises(InQuarantine, match="StepFailed"):
        await host.ref(PAYER).ask(Pay(amount=5, attempts=9, wait_s=1.0), timeout_s=3.0)

    assert 1 < len(world.keys) < 9


@on_virtual_time
async def test_when_too_many_steps_of_a_name_have_failed_none_of_it_is_tried_again() -> None:
    host = await bank()
    world.failures = [OSError("down")] * 100
    with pytest.raises(InQuarantine):
        await host.ref(PAYER).ask(Pay(amount=5, attempts=9), timeout_s=60)
    tries = len(world.keys)

    with pytest.raises(InQuarantine):
        await host.ref(PAYER).ask(Pay(amount=7, attempts=9), timeout_s=60)

    per_message = 3  # one for each run of its turn, until it is set aside
    assert len(world.keys) - tries == per_message


@on_virtual_time
async def test_only_an_idempotent_step_may_have_retries_and_no_name_has_the_mark_of_attempts() -> None:
    for wrong in (Pay(amount=5, idempotent=False), Pay(amount=5, name="char~ge")):
        host = await bank()

        with pytest.raises(InQuarantine, match="Misuse"):
            await host.ref(PAYER).ask(wrong)

    assert world.keys == []


@pytest.mark.parametrize(
    "given", [{"attempts": 0}, {"attempts": 101}, {"first_wait_s": -1}, {"first_wait_s": 2, "longest_wait_s": 1}]
)
def test_retries_without_sense_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(Misuse, match="give"):
        Retries(on=OSError, **given)  # type: ignore[arg-type]


def test_a_budget_lets_as_many_repeats_pass_as_a_tenth_of_the_successes() -> None:
    budget = RetryBudget()
    while budget.failed("ill"):
        pass
    assert not budget.failed("ill") and budget.failed("well")

    for _ in range(round(TOKENS / PER_SUCCESS)):
        budget.succeeded("ill")

    assert [budget.failed("ill") for _ in range(5)] == [True, True, True, True, False]


def test_a_budget_knows_so_many_names() -> None:
    budget = RetryBudget()
    while budget.failed("first"):
        pass

    for number in range(MAX_NAMES):
        budget.succeeded(str(number))

    assert budget.failed("first")  # it is forgotten
