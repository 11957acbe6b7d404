"""Memory on a real Redis and models with their ledger, used by agents of both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from regrow.cluster.config import Settings
from tests.integration.apps.thinking import Learn, Recall, Spending, Think, app
from tests.integration.conftest import Start
from tests.integration.lives import node_of

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.usefixtures("alone")]

FACTS = {
    "Supervisors restart what has died.": "supervisors.md",
    "Redis is the truth for durable state.": "redis.md",
    "A mailbox is bounded, and what finds no room is never lost silently.": "mailbox.md",
}


async def test_what_one_agent_learns_another_recalls_and_answers_from_with_sources(start: Start) -> None:
    async with start(app) as running:
        ids = [await running.ref("first").ask(Learn(text=t, source=s), timeout_s=60) for t, s in FACTS.items()]

        found = await running.ref("second").ask(Recall(text="Where is durable state kept in truth?"), timeout_s=60)
        thought = await running.ref("second").ask(Think(text="What is the truth for durable state?"), timeout_s=60)
        spent = await running.ref("first").ask(Spending(), timeout_s=60)

        assert len(set(ids)) == len(FACTS)
        assert (found[0].text, found[0].source) == ("Redis is the truth for durable state.", "redis.md")
        assert "Redis is the truth" in thought.text
        assert thought.sources[0] == "redis.md"
        assert thought.provider == "extractive"
        assert thought.tokens > 0
        assert (spent.calls, spent.agents) == (1, ("thinking/second",))
        assert spent.input_tokens > 0
        services = await node_of(running, "thinking:services")
        assert {node.state for node in services.children} == {"running"}


@pytest.mark.again_on_ray
async def test_memories_outlive_the_app_and_are_the_same_for_the_next_one(start: Start) -> None:
    async with start(app) as running:
        first = await running.ref("first").ask(Learn(text="What is written stays.", source="stone.md"), timeout_s=60)

    async with start(app) as running:
        again = await running.ref("second").ask(Learn(text="What is written stays.", source="stone.md"), timeout_s=60)
        (found, *_) = await running.ref("first").ask(Recall(text="What stays written?"), timeout_s=60)

    assert again == first
    assert found.text == "What is written stays."


async def test_an_app_that_remembers_nothing_starts_no_service(start: Start, settings: Settings) -> None:
    async with start(app) as running:
        trees = await running.tree()

        assert [root.id for root in trees] == ["thinking"]
        assert not list(Path(settings.data_dir_of("thinking")).glob("redis/redis.pid"))
