"""The extractive model does each kind of work by quoting, and says when it cannot."""

from __future__ import annotations

import time

import pytest

from regrow.router.catalog import extractive_card
from regrow.router.errors import RequestRejected
from regrow.router.extractive_provider import (
    ANSWER_SENTENCES,
    LIMIT_INPUT_CHARS,
    LIMIT_STEPS,
    NO_LABEL_FITS,
    NO_LABELS,
    NOTHING_GIVEN,
    NOTHING_OF_KIND,
    NOTHING_RELEVANT,
    ExtractiveProvider,
)
from regrow.router.provider import ProviderReply
from regrow.router.request import FinishReason, ModelRequest, Passage, Tier, Work

BOX = Passage(
    text=(
        "# The mailbox\n\nThe **mailbox** of an actor is *bounded*. It holds `1,000` messages by default. "
        "A full mailbox refuses user messages and accepts stop.\n\n```\nmailbox = 1\n```\n"
    ),
    source="box.md",
)
TREE = Passage(
    text=(
        "# Supervision\n\nA supervisor starts its children again after they crash. It gives up after three restarts "
        "within five seconds.\n\n| when | what |\n|---|---|\n| crash | restart |\n"
    ),
    source="tree.md",
)
BOTH = (BOX, TREE)


async def done(work: Work, prompt: str = "", **rest: object) -> ProviderReply:
    request = ModelRequest.model_validate({"work": work, "prompt": prompt, **rest})
    return await ExtractiveProvider().complete(request, extractive_card(Tier.SMALL))


@pytest.mark.parametrize("work", [Work.SYNTHESIZE, Work.REASON, Work.GENERATE])
async def test_a_question_is_answered_by_quotes_with_their_sources(work: Work) -> None:
    reply = await done(work, "What does a full mailbox do?", context=BOTH)

    assert "A full mailbox refuses user messages and accepts stop." in reply.text
    assert "box.md" in reply.sources
    assert reply.finish is FinishReason.STOP
    assert all(quote.text.rstrip(".") in reply.text for quote in reply.quotes)


async def test_an_answer_holds_no_markup_and_few_sentences() -> None:
    reply = await done(
        Work.SYNTHESIZE, "What is the mailbox of an actor and how many messages does it hold?", context=BOTH
    )

    assert not set("*`#|") & set(reply.text)
    assert 1 <= len(reply.quotes) <= ANSWER_SENTENCES + 1
    assert "It holds 1,000 messages by default." in reply.text


async def test_a_question_without_answer_is_said_to_have_none() -> None:
    reply = await done(Work.SYNTHESIZE, "Who painted the Mona Lisa?", context=BOTH)

    assert (reply.text, reply.finish, reply.quotes) == (NOTHING_RELEVANT, FinishReason.NOTHING_FOUND, ())


@pytest.mark.parametrize("work", [Work.SYNTHESIZE, Work.EXTRACT, Work.SUMMARIZE, Work.COMPRESS, Work.PLAN])
async def test_nothing_comes_from_nothing(work: Work) -> None:
    reply = await done(work)

    assert (reply.text, reply.finish) == (NOTHING_GIVEN, FinishReason.NOTHING_FOUND)


async def test_a_summary_quotes_the_passages() -> None:
    reply = await done(Work.SUMMARIZE, "Summarize this.", context=BOTH)

    assert "The mailbox of an actor is bounded." in reply.text
    assert reply.sources == ("box.md", "tree.md")


async def test_a_prompt_alone_is_what_is_summarized() -> None:
    reply = await done(Work.SUMMARIZE, "The sky is blue today over all hills. Rain comes tomorrow from the west.")

    assert reply.text.startswith("The sky is blue today over all hills.")


async def test_compression_is_shorter_and_made_of_quotes() -> None:
    text = " ".join(f"Sentence number {n} tells something about the actors of part {n}." for n in range(20))

    reply = await done(Work.COMPRESS, context=(Passage(text=text),))

    assert 0 < len(reply.text) < 0.5 * len(text)
    assert all(quote.text in text for quote in reply.quotes)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("My card was charged twice", "billing: cards, charges, invoices"),
        ("The app crashes at start", "bugs: crashes and errors"),
    ],
)
async def test_the_label_that_shares_most_is_chosen(prompt: str, label: str) -> None:
    labels = ("billing: cards, charges, invoices", "bugs: crashes and errors", "other")

    for work in (Work.CLASSIFY, Work.ROUTE):
        assert (await done(work, prompt, labels=labels)).text == label


async def test_a_choice_without_labels_or_without_a_fitting_one_says_so() -> None:
    assert (await done(Work.CLASSIFY, "anything")).text == NO_LABELS
    assert (await done(Work.CLASSIFY, "zzz qqq", labels=("red", "blue"))).text == NO_LABEL_FITS


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("all e-mail addresses", ["ann@example.org", "bob@example.com"]),
        ("every URL", ["https://example.org/a"]),
        ("the dates", ["2026-03-01", "12 March 2026"]),
        ("the prices", ["$30"]),
        ("version", ["v1.2.3"]),
    ],
)
async def test_things_of_a_known_shape_are_extracted_once_each(prompt: str, found: list[str]) -> None:
    text = (
        "Write to ann@example.org or bob@example.com, not to ann@example.org. See https://example.org/a. "
        "From 2026-03-01 to 12 March 2026 it costs $30 in v1.2.3 only."
    )

    reply = await done(Work.EXTRACT, prompt, context=(Passage(text=text, source="s"),))

    assert reply.text.splitlines() == found
    assert reply.sources == ("s",)


async def test_what_is_not_there_is_not_extracted() -> None:
    assert (await done(Work.EXTRACT, "all e-mails", context=BOTH)).text == NOTHING_OF_KIND


async def test_other_things_are_extracted_as_sentences_one_per_line() -> None:
    reply = await done(Work.EXTRACT, "restarts of children", context=BOTH)

    assert "It gives up after three restarts within five seconds." in reply.text.splitlines()


async def test_a_plan_numbers_the_steps_of_the_prompt() -> None:
    reply = await done(Work.PLAN, "First read the docs, then write the test. Finally run it.")

    assert reply.text.splitlines() == ["1. Read the docs", "2. Write the test", "3. Run it"]


async def test_a_plan_is_bounded_and_says_when_it_was_cut() -> None:
    reply = await done(Work.PLAN, "\n".join(f"- do the thing number {n}" for n in range(LIMIT_STEPS + 5)))

    assert len(reply.text.splitlines()) == LIMIT_STEPS
    assert reply.finish is FinishReason.LENGTH


async def test_the_output_limit_cuts_between_quotes_and_says_so() -> None:
    reply = await done(Work.SUMMARIZE, context=BOTH, max_output_tokens=12)

    assert len(reply.quotes) == 1
    assert reply.finish is FinishReason.LENGTH


async def test_more_text_than_it_reads_is_refused_with_the_limit() -> None:
    with pytest.raises(RequestRejected, match="200,000"):
        await done(Work.SUMMARIZE, "x" * (LIMIT_INPUT_CHARS + 1))


async def test_tokens_are_estimated_and_said_to_be() -> None:
    reply = await done(Work.SUMMARIZE, "Summarize.", context=BOTH)

    assert reply.usage is not None
    assert reply.usage.estimated
    assert reply.usage.input_tokens >= (len(BOX.text) + len(TREE.text)) // 4


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["a.", "a@", "1,", "`", "*a", "$1", "http://", "a,then "])
@pytest.mark.parametrize(
    ("work", "prompt"),
    [(Work.EXTRACT, "e-mails"), (Work.EXTRACT, "prices"), (Work.EXTRACT, "urls"), (Work.EXTRACT, "versions")],
)
async def test_hostile_text_takes_no_more_time_than_its_length(work: Work, prompt: str, sign: str) -> None:
    def passages(length: int) -> tuple[Passage, ...]:
        return (Passage(text=sign * (length // len(sign))),)

    async def taken_s(length: int) -> float:
        begun_s = time.process_time()
        await done(work, prompt, context=passages(length))
        return time.process_time() - begun_s

    assert await taken_s(160_000) < 100 * await taken_s(10_000) + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["`a", "*a ", "a then ", "[a](", "- ", "<!--"])
async def test_a_hostile_prompt_is_planned_in_time(sign: str) -> None:
    async def taken_s(length: int) -> float:
        begun_s = time.process_time()
        await done(Work.PLAN, sign * (length // len(sign)))
        return time.process_time() - begun_s

    assert await taken_s(160_000) < 100 * await taken_s(10_000) + 0.1
