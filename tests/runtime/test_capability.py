"""Capabilities: what they list may be addressed and run, and they only ever narrow (decision 0030)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from regrow.runtime.capability import allows_tool, narrowed, only_tools, reaches, told, tools_only
from regrow.runtime.envelope import Origin
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Echo, Process

WORDS = st.sampled_from(["*", "!*", "desk", "desk/clerk", "!search", "!read", "search"])
CAPABILITIES = st.one_of(st.none(), st.lists(WORDS, max_size=4).map(tuple))
TOOLS = st.lists(st.sampled_from(["search", "read", "write"]), max_size=3)


@pytest.mark.parametrize(
    ("capability", "tool", "allowed"),
    [
        (None, "search", True),
        (("!search",), "search", True),
        (("!*",), "search", True),
        (("!search",), "searches", False),
        (("search",), "search", False),
        (("desk", "*"), "search", False),
        ((), "search", False),
    ],
)
def test_a_tool_is_allowed_where_it_is_listed(capability: tuple[str, ...] | None, tool: str, allowed: bool) -> None:
    assert allows_tool(capability, tool) is allowed


def test_one_that_limits_tools_alone_reaches_every_actor() -> None:
    limited = narrowed(None, ["search"])

    assert limited == ("*", "!search")
    assert reaches(limited, "desk/clerk")


@given(CAPABILITIES, TOOLS, TOOLS)
def test_narrowing_never_reaches_further_and_narrows_again_in_any_order(
    capability: tuple[str, ...] | None, first: list[str], second: list[str]
) -> None:
    once, twice = narrowed(capability, first), narrowed(narrowed(capability, first), second)

    for tool in ("search", "read", "write"):
        assert allows_tool(once, tool) == (allows_tool(capability, tool) and tool in first)
        assert allows_tool(twice, tool) == (allows_tool(once, tool) and tool in second)
    for actor in ("desk", "desk/clerk", "other"):
        assert reaches(once, actor) == reaches(capability, actor)


def test_what_is_allowed_is_told() -> None:
    assert [told(None), told(("!*",)), told(("desk", "!a", "!b")), told(())] == [
        "every tool",
        "every tool",
        "a, b",
        "no tool",
    ]


def test_a_limit_inside_of_another_one_does_not_widen_it() -> None:
    with only_tools(["search", "read"]):
        with only_tools(["read", "write"]):
            assert tools_only.get() == {"read"}
        assert tools_only.get() == {"search", "read"}
    assert tools_only.get() is None


@virtual
async def test_what_a_limited_turn_sends_is_limited_as_well_and_what_follows_from_it() -> None:
    process, came = Process(), dict[str, tuple[str, ...] | None]()

    async def last(message: object, ctx: object) -> object:
        came["last"] = ctx.origin().capability  # type: ignore[attr-defined]
        return "done"

    async def middle(message: object, ctx: object) -> object:
        came["middle"] = ctx.origin().capability  # type: ignore[attr-defined]
        return await ctx.ask("desk/last", Echo())  # type: ignore[attr-defined]

    async def first(message: object, ctx: object) -> object:
        with only_tools(["search"]):
            await ctx.ask("desk/middle", Echo())  # type: ignore[attr-defined]
        came["after"] = ctx.origin().capability  # type: ignore[attr-defined]
        return ""

    for name, handle in (("last", last), ("middle", middle), ("first", first)):
        await process.start(f"desk/{name}", handle)
    await process.runtime.ref("desk/first").ask(Echo())

    assert came == {"middle": ("*", "!search"), "last": ("*", "!search"), "after": None}


@virtual
async def test_a_process_keeps_its_capability_where_what_it_sends_is_traced() -> None:
    process = Process()
    process.runtime.origin = Origin(principal="ann", capability=("desk",))
    span = NonRecordingSpan(SpanContext(trace_id=1, span_id=2, is_remote=False))

    with use_span(span):
        origin = process.runtime.current_origin()

    assert origin.trace
    assert (origin.principal, origin.capability) == ("ann", ("desk",))
