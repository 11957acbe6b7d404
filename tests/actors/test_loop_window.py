"""A long agent loop keeps what it sends under the window, and says what it left out."""

from __future__ import annotations

import json

from pydantic import BaseModel

from regrow import Context
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.loop_errors import WindowTooSmall
from regrow.actors.tool import tool
from regrow.cluster.config import Settings
from regrow.router.conversation import Role, Said, ToolResult
from regrow.router.prompting import size_bytes
from regrow.router.settings import ModelSettings, PriceSettings, ProviderName, RouterSettings
from regrow.runtime.testing import virtual
from tests.actors.loop_stage import call, looped

SMALL = Settings(
    models=RouterSettings(
        large=ModelSettings(
            provider=ProviderName.OPENAI,
            model="scripted",
            base_url="http://127.0.0.1:9/v1",
            price=PriceSettings(input_usd_per_mtok=0, output_usd_per_mtok=0),
            context_limit_tokens=1_200,
        )
    )
)


@tool
async def page(number: int, size: int = 400) -> str:
    """Reads a page."""
    return f"{number:{size}}"


def read(number: int, size: int = 400) -> object:
    return call("page", json.dumps({"number": number, "size": size}), str(number))


async def narrow(ctx: Context) -> LoopAnswer[None]:
    return await ctx.models.run("Read the book", max_turns=30, window_tokens=1_000, max_output_tokens=100)


@virtual
async def test_old_exchanges_are_left_out_and_that_is_seen() -> None:
    stand = await looped(narrow, [*(read(number) for number in range(20)), "read"], tools=[page])

    assert all(size_bytes(request) / 4 <= 900 for request in stand.model.requests)
    assert all(request.prompt == "Read the book" for request in stand.model.requests)
    assert stand.told()[-1].strip() == "19"
    assert len(stand.answer.calls) == 20
    assert len(stand.answer.messages) == 1 + 20 * 2 + 1, "the answer has all of it"
    out = stand.answer.left_out
    assert len(out) > 20
    assert isinstance(out[0], Said)
    assert isinstance(out[-1], ToolResult)
    assert [each for each in stand.answer.messages if each in stand.answer.said or each in out][:2] == list(out[:2])


@virtual
async def test_a_model_that_is_known_to_read_less_is_sent_less() -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Read the book", max_turns=30, max_output_tokens=200)

    stand = await looped(use, [*(read(number) for number in range(20)), "read"], tools=[page], settings=SMALL)

    assert all(size_bytes(request) / 4 <= 1_000 for request in stand.model.requests)
    assert stand.answer.left_out


@virtual
async def test_a_result_that_would_fill_the_window_is_told_as_too_large_and_the_loop_goes_on() -> None:
    stand = await looped(narrow, [read(1, size=5_000), "I read less"], tools=[page])

    assert stand.answer.calls[0].outcome == "ResultTooLarge"
    assert stand.told()[0].startswith("page gave 5,000 bytes, and of this result 1,800 can be told")


@virtual
async def test_a_question_that_does_not_fit_is_a_named_error() -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("word " * 2_000, window_tokens=1_000, max_output_tokens=100)

    stand = await looped(use, ["never"], tools=[page], fails=True)

    assert isinstance(stand.error, WindowTooSmall)
    assert stand.model.requests == []


class Decision(BaseModel):
    cents: int


@virtual
async def test_the_question_stays_where_an_answer_is_mended_in_a_window_that_is_full() -> None:
    before = [Said(role=Role.USER, text="What is 1+1?"), Said(role=Role.ASSISTANT, text="2")]

    async def use(ctx: Context) -> LoopAnswer[Decision]:
        conversation = [*before, Said(role=Role.USER, text="REFUND A")]
        return await ctx.models.run(conversation, output=Decision, window_tokens=1_100, max_output_tokens=100)

    script = [read(1, 900), read(2, 900), "no json " * 260, '{"cents": 1}']
    stand = await looped(use, script, tools=[page])

    assert stand.answer.output.cents == 1
    for request in stand.model.requests:
        assert "REFUND A" in [each.text for each in request.messages if isinstance(each, Said)]
    mended = stand.model.requests[-1].messages
    assert mended[-2:] == stand.answer.messages[-3:-1], "the bad answer, and what is wrong with it"
