"""The answer of an agent loop as an object of a type: validated, mended once, then a named error."""

from __future__ import annotations

import json
import time
from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from regrow import Context
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.loop_errors import OutputInvalid
from regrow.actors.loop_output import Output
from regrow.actors.tool import tool
from regrow.router.conversation import Role, Said
from regrow.runtime.errors import Misuse
from regrow.runtime.testing import virtual
from tests.actors.loop_stage import call, looped


class Decision(BaseModel):
    verdict: Literal["refund", "refuse"]
    cents: int = Field(ge=0)


GOOD = '{"verdict": "refund", "cents": 700}'
BAD = '{"verdict": "maybe", "cents": -1}'


@tool
async def look() -> str:
    """Looks."""
    return "late"


async def deciding(ctx: Context) -> LoopAnswer[Decision]:
    return await ctx.models.run("Refund it?", output=Decision)


@virtual
async def test_an_answer_is_read_as_the_type_that_was_asked_for() -> None:
    stand = await looped(deciding, [call("look"), GOOD], tools=[look])

    assert stand.answer.output == Decision(verdict="refund", cents=700)
    assert stand.answer.text == GOOD
    told = stand.model.requests[0].instructions
    assert json.loads(told.partition("\n")[2]) == Decision.model_json_schema()


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"Here it is:\n```\n{GOOD}\n```\nBye", f"So: {GOOD}."])
def test_it_may_stand_in_a_fence_or_among_words(text: str) -> None:
    assert Output(Decision).read(text).cents == 700


class Dated(BaseModel):
    month: str

    @field_validator("month")
    @classmethod
    def _is_one(cls, month: str) -> str:
        return {"May": "05"}[month]


def test_a_validator_that_fails_otherwise_is_told_to_the_model_as_what_is_wrong() -> None:
    output = Output(Dated)
    assert output.read('{"month": "May"}').month == "05"

    with pytest.raises(ValidationError) as wrong:
        output.read('{"month": "Maj"}')

    assert output.mend(wrong.value).startswith("That is no Dated (the whole: KeyError: 'Maj').")


@pytest.mark.parametrize("text", ["", "refund", "{", BAD, "[]", "null", '{"verdict": "refund"}'])
def test_what_is_no_answer_of_the_type_is_not_read(text: str) -> None:
    with pytest.raises(ValidationError):
        Output(Decision).read(text)


@pytest.mark.parametrize(
    "text",
    [
        "Here: [1, 2]",
        "I thought {hm} about [it]: [1, 2].",
        "[9, [0]] was wrong, so [1, 2]",
        "```json\n[9]\n``` or rather\n```\n[1, 2]\n```",
        "```[1, 2]```",
        "```\n[1, 2]",
    ],
)
def test_lists_and_braces_among_words_are_told_apart_and_the_last_value_counts(text: str) -> None:
    assert Output(list[int]).read(text) == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "```" + "\n" * 100_000 + "x",
        "```a\n" * 30_000,
        "[" * 100_000,
        '{"a":' * 50_000,
        '["' + "x" * 100_000,
        "[1" * 100_000,
    ],
    ids=["newlines", "fences", "brackets", "braces", "an open text", "open lists"],
)
def test_a_degenerate_answer_is_refused_in_a_moment(text: str) -> None:
    began_s = time.process_time()

    with pytest.raises(ValidationError):
        Output(Decision).read(text)
    assert time.process_time() - began_s < 1.0, "quadratic, it takes 100 s"


@virtual
async def test_one_that_does_not_validate_is_mended_once() -> None:
    stand = await looped(deciding, [BAD, GOOD], tools=[look])

    assert stand.answer.output.verdict == "refund"
    assert stand.answer.turns == 2
    told = stand.model.requests[1].messages
    assert told[-2] == Said(role=Role.ASSISTANT, text=BAD)
    assert isinstance(told[-1], Said)
    assert told[-1].role is Role.USER
    assert told[-1].text.startswith("That is no Decision (verdict: Input should be 'refund' or 'refuse'; cents: Input")


@virtual
async def test_a_tool_may_be_used_to_mend_it() -> None:
    stand = await looped(deciding, ["I do not know", call("look"), GOOD], tools=[look])

    assert stand.answer.output.cents == 700


@virtual
async def test_one_that_is_wrong_twice_is_a_named_error_with_its_text() -> None:
    stand = await looped(deciding, ["I do not know", call("look"), "Still not"], tools=[look], fails=True)
    empty = await looped(deciding, ["I do not know", ""], tools=[look], fails=True)

    error = stand.error
    assert isinstance(error, OutputInvalid)
    assert error.text == "Still not"
    assert isinstance(empty.error, OutputInvalid)
    assert empty.error.text == ""
    assert error.turns == 3
    assert "was asked for Decision, and its model, also when it was told what is wrong, wrote 'Still not'" in str(error)


@virtual
async def test_where_no_turn_is_left_it_is_not_mended() -> None:
    async def once(ctx: Context) -> LoopAnswer[Decision]:
        return await ctx.models.run("Refund it?", output=Decision, max_turns=1)

    stand = await looped(once, [BAD], tools=[look], fails=True)

    assert isinstance(stand.error, OutputInvalid)
    assert "max_turns=1" in str(stand.error)


@virtual
async def test_a_type_without_a_schema_is_a_misuse() -> None:
    class Odd:
        pass

    async def odd(ctx: Context) -> LoopAnswer[Odd]:
        return await ctx.models.run("Refund it?", output=Odd)

    stand = await looped(odd, ["never"], fails=True)

    assert isinstance(stand.error, Misuse)
    assert "output=Odd has no JSON schema" in str(stand.error)
