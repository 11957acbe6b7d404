"""Agents with skills: found by name and version, told to a model step by step, with the tools they declare."""

from __future__ import annotations

import asyncio
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, adopt, agent, on
from regrow.actors.skill_errors import InvalidSkill, SkillNotFound, SkillOutside, UnknownSkill
from regrow.actors.skill_places import look_in
from regrow.actors.tool_errors import InvalidTool
from regrow.cluster.config import Settings
from regrow.router.conversation import ToolCall
from regrow.runtime.address import ActorId
from regrow.runtime.testing import virtual
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time
from tests.actors.skill_shelf import shelve

TOLD = """You have these skills. Before you do such work, read what is to be done with read_skill.
- refunds: How to pay money back."""


class Do(Request[str]):
    text: str = ""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[str]:
    """The name of a module in a folder of its own, beside which skills can be put."""
    made = types.ModuleType("code_with_skills")
    made.__file__ = str(tmp_path / "code_with_skills.py")
    sys.modules[made.__name__] = made
    yield made.__name__
    del sys.modules[made.__name__]
    look_in(None)


def clerk(module: str, skills: list[str], tools: Any = ()) -> type[Agent]:
    """An agent class as the module would hold it, that does what its request says."""

    async def do(self: Agent, request: Do, ctx: Context) -> str:
        match request.text.split():
            case ["prompt"]:
                return ctx.skills.prompt()
            case ["read", name]:
                return ctx.skills.instructions(name)
            case ["tools"]:
                return " ".join(each.name for each in ctx.tools.allowed())
            case [name, *given]:
                told = await ctx.tools.answer(ToolCall(id="1", name=name, arguments=" ".join(given)))
                return told.content
            case _:
                return ""

    do.__annotations__ = {"request": Do, "ctx": Context, "return": str}
    body = {"do": on(do), "skills": skills, "tools": tools, "__module__": module}
    return type("Clerk", (Agent,), body)


async def answers(cls: type[Agent], *texts: str, settings: Settings | None = None) -> list[str]:
    async with App("desk", cls).start(engine="inline", settings=settings or Settings()) as running:
        return [await running.ref("desk/clerk").ask(Do(text=text)) for text in texts]


# ---- what a model is told ------------------------------------------------------------------------


@virtual
async def _step_by_step(module: str) -> None:
    told = await answers(
        clerk(module, ["refunds@1.2"]),
        "prompt",
        "read refunds",
        'read_skill {"name": "refunds"}',
        'read_skill {"name": "refunds", "file": "rates.md"}',
        'read_skill {"name": "others"}',
        'read_skill {"name": "refunds", "file": "../../x"}',
    )

    instructions = "# refunds 1.2\n\nAsk first."
    assert told == [
        TOLD,
        instructions,
        instructions,
        "2 %",
        "there is no skill 'others' here; there is refunds",
        "refunds@1.2 has no file '../../x'; its files are: rates.md",
    ]


def test_a_prompt_has_names_and_descriptions_and_a_model_reads_on_when_it_needs_to(module: str, tmp_path: Path) -> None:
    folder = shelve(tmp_path / "skills")
    (folder / "rates.md").write_text("2 %", "utf-8")

    _step_by_step(module)


def test_the_tools_that_a_skill_declares_join_the_list_and_no_others(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills")

    @virtual
    async def run() -> None:
        names, paid, found, deleted = await answers(
            clerk(module, ["refunds@1.2"]),
            "tools",
            'refund {"order": "A-1"}',
            'find_order {"order": "A-1"}',
            'delete_order {"order": "A-1"}',
        )

        assert names == "read_skill find_order refund"
        assert (paid, found) == ("desk/clerk paid A-1", "3")
        assert deleted.startswith("desk/clerk has no tool called 'delete_order'; it has read_skill, find_order, refund")

    run()


def test_an_agent_without_skills_has_nothing_of_the_kind(module: str) -> None:
    @virtual
    async def run() -> None:
        assert await answers(clerk(module, []), "prompt", "tools") == ["", ""]

    run()


def test_a_limited_turn_limits_the_tools_of_skills_as_well(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills")
    cls = clerk(module, ["refunds@1.2"])

    @virtual
    async def run() -> None:
        async with App("desk", cls).start(engine="inline", settings=Settings()) as running:
            clerk = running.ref("desk/clerk")
            clerk.runtime.origin = clerk.runtime.origin.limited(["find_order"])

            assert await clerk.ask(Do(text="tools")) == "find_order"
            assert "may not run refund on behalf" in await clerk.ask(Do(text='refund {"order": "A-1"}'))

    run()


def test_two_agents_share_the_tools_of_one_skill(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills")

    first, second = clerk(module, ["refunds@1.2"]), clerk(module, ["refunds@1.2"])

    assert first.listed_tools["refund"] is second.listed_tools["refund"]


def test_agent_functions_and_adopted_code_have_skills_too(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills")

    async def function(ctx: Context, text: str) -> str:
        return ctx.skills.prompt()

    function.__module__ = module
    function.__annotations__ = {"ctx": Context, "text": str, "return": str}
    made = agent(skills=["refunds@1.2"])(function)
    look_in(tmp_path / "skills")  # since what is adopted here is looked for beside this file
    adopted = adopt(function, skills=["refunds@1.2"])

    for each in (made, adopted):
        assert list(each.agent_class.listed_skills) == ["refunds"]
        assert list(each.agent_class.listed_tools) == ["read_skill", "find_order", "refund"]


# ---- where they are found ------------------------------------------------------------------------


def test_of_several_versions_the_one_that_is_wanted_is_found(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills", version="1.3")
    shelve(tmp_path / "skills", version="1.2", folder="refunds@1.2")

    assert clerk(module, ["refunds@1.2"]).listed_skills["refunds"].name.version == "1.2"
    assert clerk(module, ["refunds@1.3"]).listed_skills["refunds"].name.version == "1.3"


def test_a_folder_of_the_settings_is_looked_through_when_the_app_starts(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "shared")
    cls = clerk(module, ["refunds@1.2"])
    assert cls.listed_tools == {}, "when the class is defined no settings are known"

    @virtual
    async def run() -> None:
        settings = Settings(skills_dir=tmp_path / "shared")

        assert await answers(cls, "tools", settings=settings) == ["read_skill find_order refund"]

    run()


def test_the_folder_beside_the_code_comes_first(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "shared", tools="[]")
    shelve(tmp_path / "skills")
    look_in(tmp_path / "shared")

    assert list(clerk(module, ["refunds@1.2"]).listed_tools) == ["read_skill", "find_order", "refund"]


def test_a_version_that_is_not_there_is_told_with_those_that_are(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills", version="1.3")
    cls = clerk(module, ["refunds@1.2"])

    @virtual
    async def run() -> None:
        with pytest.raises(
            Exception, match=r"SkillNotFound.*wants the skill refunds@1.2, and it is not in .*there is refunds@1.3"
        ):
            await answers(cls, "prompt")

    run()
    with pytest.raises(SkillNotFound, match=r"or set skills_dir in regrow.toml to the folder that has it"):
        cls.made(None)


def test_a_skill_that_is_broken_is_refused_where_its_agent_is_defined(module: str, tmp_path: Path) -> None:
    folder = shelve(tmp_path / "skills", code="1 / 0")

    with pytest.raises(InvalidSkill, match="can not be imported"):
        clerk(module, ["refunds@1.2"])

    (folder / "more.md").symlink_to("/etc/passwd")
    with pytest.raises(SkillOutside):
        clerk(module, ["refunds@1.2"])


def test_a_tool_of_a_skill_that_is_called_like_another_one_is_refused(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills")
    shelve(tmp_path / "skills", name="others")

    with pytest.raises(InvalidTool, match="has two tools of the name 'find_order'"):
        clerk(module, ["refunds@1.2", "others@1.2"])


def test_a_subclass_finds_what_its_base_lists_beside_the_base(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills")
    base = clerk(module, ["refunds@1.2"])

    class Sub(base):  # type: ignore[misc, valid-type]
        pass

    assert list(Sub.listed_skills) == ["refunds"]


def test_a_list_that_is_changed_after_the_class_was_defined_allows_nothing_more(module: str, tmp_path: Path) -> None:
    shelve(tmp_path / "skills")
    shelve(tmp_path / "skills", name="others", tools="[]")
    skills = ["refunds@1.2"]
    cls = clerk(module, skills)

    skills.append("others@1.2")
    cls.made(None)

    assert list(cls.listed_skills) == ["refunds"]


# ---- in durable turns ----------------------------------------------------------------------------


class Nothing(BaseModel):
    pass


def test_what_a_durable_turn_has_read_it_reads_again_though_it_has_changed(module: str, tmp_path: Path) -> None:
    folder = shelve(tmp_path / "skills")
    rates, read = folder / "rates.md", list[str]()

    async def do(self: Any, request: Do, ctx: DurableContext) -> str:
        rates.write_text(f"{len(read)} %", "utf-8")
        read.append(await ctx.tools.call("read_skill", {"name": "refunds", "file": "rates.md"}))
        if len(read) == 1:
            raise ValueError("as the test wants it")
        with pytest.raises(UnknownSkill):
            await ctx.tools.call("read_skill", {"name": "others"})
        return " ".join(read)

    do.__annotations__ = {"request": Do, "ctx": DurableContext, "return": str}
    body = {"do": on(do), "skills": ["refunds@1.2"], "__module__": module}
    cls = types.new_class("Clerk", (DurableAgent[Nothing],), exec_body=lambda namespace: namespace.update(body))

    @on_virtual_time
    async def run() -> None:
        host = await Host.on(memory_journal())
        assert await host.start(cls, ActorId("desk/clerk")) is None

        assert await host.ref("desk/clerk").ask(Do()) == "0 % 0 %"

    run()


@pytest.mark.slow
@pytest.mark.parametrize("file", ["tools.py", "places.py"])
def test_a_tool_of_a_skill_may_run_in_a_process_of_its_own(file: str, module: str, tmp_path: Path) -> None:
    code = (
        "import os\nfrom regrow import tool\n\n\n@tool(isolation='process')\ndef where() -> int:\n"
        '    """Says in which process it runs."""\n    return os.getpid()\n'
    )
    folder = shelve(tmp_path / "skills", tools='["where"]', code="from .places import where\n")
    (folder / file).write_text(code)
    cls = clerk(module, ["refunds@1.2"])

    async def run() -> list[str]:
        return await answers(cls, "where {}")

    (pid,) = asyncio.run(run())

    assert int(pid) != os.getpid()
