"""Requests and replies are messages, and each kind of work has its tier."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from regrow.router.request import (
    LIMIT_PASSAGES,
    FinishReason,
    ModelReply,
    ModelRequest,
    Passage,
    Quote,
    Tier,
    Usage,
    Work,
)
from regrow.router.usage import UsageReport, UsageTotals

SMALL = {Work.ROUTE, Work.SUMMARIZE, Work.EXTRACT, Work.CLASSIFY, Work.COMPRESS}


def test_each_kind_of_work_has_its_tier() -> None:
    assert {work for work in Work if work.tier is Tier.SMALL} == SMALL
    assert {work for work in Work if work.tier is Tier.LARGE} == {
        Work.PLAN,
        Work.SYNTHESIZE,
        Work.REASON,
        Work.GENERATE,
    }


def test_the_tier_of_a_request_overrides_that_of_its_work() -> None:
    assert ModelRequest(work=Work.REASON, prompt="?").wanted_tier is Tier.LARGE
    assert ModelRequest(work=Work.REASON, prompt="?", tier=Tier.SMALL).wanted_tier is Tier.SMALL


def test_requests_name_their_replies() -> None:
    assert ModelRequest.reply().annotation is ModelReply
    assert UsageReport.reply().annotation is UsageTotals


def test_a_reply_survives_its_way_as_plain_values() -> None:
    reply = ModelReply(
        text="yes",
        quotes=(Quote(text="yes indeed", source="a.md"),),
        sources=("a.md",),
        tier=Tier.LARGE,
        model="m",
        provider="p",
        usage=Usage(input_tokens=3, output_tokens=1, cached_tokens=2),
        cost_usd=None,
        latency_s=0.5,
        finish=FinishReason.LENGTH,
        fell_back=True,
    )

    assert ModelReply.model_validate_json(reply.model_dump_json()) == reply


@pytest.mark.parametrize("changed", [{"max_output_tokens": 0}, {"context": (Passage(text=""),) * (LIMIT_PASSAGES + 1)}])
def test_a_request_beyond_a_limit_is_not_made(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelRequest.model_validate({"work": Work.REASON, "prompt": "?", **changed})
