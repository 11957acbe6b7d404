"""Tools as they are defined: what a model is told of them, and what is refused at once."""

# pyright: reportUnusedClass=false
# The classes of these tests are refused before anybody could use them.

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from regrow.actors import Agent, Context, Step, agent
from regrow.actors.durable_context import DurableContext
from regrow.actors.tool import Tool, tool
from regrow.actors.tool_errors import InvalidTool, ToolCalledDirectly
from regrow.actors.tool_options import ProcessLimits
from regrow.runtime.errors import InvalidDefinition


class Place(BaseModel):
    street: str
    number: int = 1


@tool
async def find(
    query: str,
    ctx: Context,
    step: Step,
    near: Place | None = None,
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
    tags: list[str] = [],  # noqa: B006 # as people write it
    sort: Literal["date", "fit"] = "fit",
    copy: bool = False,
) -> list[str]:
    """Finds shops.

    Args:
        query: what they sell
        limit: how many at most
    """
    return [query, str(limit), step.key, ctx.id]


def test_name_description_and_schema_come_from_the_function() -> None:
    properties = find.schema["properties"]

    assert (find.name, find.description) == ("find", "Finds shops.")
    assert list(properties) == ["query", "near", "limit", "tags", "sort", "copy"]
    assert properties["query"] == {"type": "string", "description": "what they sell"}
    assert properties["limit"]["maximum"] == 50
    assert properties["limit"]["default"] == 10
    assert find.schema["required"] == ["query"]
    assert find.schema["additionalProperties"] is False
    json.dumps(dict(find.schema))


def test_context_and_step_are_filled_in_and_no_model_sees_them() -> None:
    assert not {"ctx", "step"} & set(find.schema["properties"])
    assert (find.signature.context, find.signature.step) == ("ctx", "step")


def test_a_default_that_can_be_changed_is_not_shared_by_calls() -> None:
    first, second = (find.arguments.validate_json('{"query": "x"}') for _ in range(2))

    assert first.tags == []
    assert first.tags is not second.tags


def test_arguments_are_read_as_their_types_and_written_again() -> None:
    read = find.arguments.validate_json('{"query": "x", "near": {"street": "High"}}')

    assert read.near == Place(street="High")
    assert find.arguments.validate_json(find.arguments.dump_json(read)) == read


def test_the_hash_changes_with_name_text_schema_and_code() -> None:
    def made(default: int = 1, name: str = "count") -> Tool[int]:
        if default == 1:

            @tool(name=name)
            def count(n: int = 1) -> int:
                """Counts."""
                return n

            return count

        @tool(name=name)
        def counted(n: int = 1) -> int:
            """Counts."""
            return n + 1

        return counted

    assert made().hash == made().hash
    assert len({made().hash, made(name="other").hash, made(default=2).hash}) == 3


def test_a_tool_that_is_called_like_a_function_says_what_to_write_and_does_not_run() -> None:
    with pytest.raises(ToolCalledDirectly, match=r"await ctx.tools.call\(find, .*find.function\("):
        find("x")


def test_its_function_can_be_tested_alone() -> None:
    @tool
    def double(n: int) -> int:
        """Doubles it."""
        return 2 * n

    assert double.function(4) == 8


def unannotated() -> None:
    @tool
    def f(query) -> str:  # type: ignore[no-untyped-def]
        """Finds."""
        return ""


def without_docstring() -> None:
    @tool
    def f(query: str) -> str:
        return query


def only_arguments() -> None:
    @tool
    def f(query: str) -> str:
        """
        Args:
            query: what
        """
        return query


def star() -> None:
    @tool
    def f(*queries: str) -> str:
        """Finds."""
        return ""


def star_star() -> None:
    @tool
    def f(**queries: str) -> str:
        """Finds."""
        return ""


def positional() -> None:
    @tool
    def f(query: str, /) -> str:
        """Finds."""
        return query


def underscore() -> None:
    @tool
    def f(_query: str) -> str:
        """Finds."""
        return ""


def unread_type() -> None:
    @tool
    def f(what: Iterator2) -> str:
        """Finds."""
        return ""


class Iterator2:
    """Of which pydantic knows nothing."""


def no_schema() -> None:
    @tool
    def f(what: Callable[[], int]) -> str:
        """Finds."""
        return ""


def wrong_default() -> None:
    @tool
    def f(limit: int = "many") -> str:  # type: ignore[assignment]
        """Finds."""
        return ""


def no_return() -> None:
    @tool
    def f(query: str):  # type: ignore[no-untyped-def]
        """Finds."""


def unchecked_return() -> None:
    @tool
    def f(query: str) -> Iterator2:
        """Finds."""
        return Iterator2()


def misspelt() -> None:
    @tool
    def f(query: str) -> str:
        """Finds.

        Args:
            qurey: what
        """
        return query


def unknown_type() -> None:
    @tool
    def f(query: Nowhere) -> str:  # type: ignore[name-defined] # noqa: F821
        """Finds."""
        return ""


def yields() -> None:
    @tool
    def f(query: str) -> Iterator[str]:
        """Finds."""
        yield query


def yields_async() -> None:
    @tool
    async def f(query: str) -> AsyncIterator[str]:
        """Finds."""
        yield query


def of_a_class() -> None:
    class Shop:
        @tool
        def f(self, query: str) -> str:
            """Finds."""
            return query


def above_a_class() -> None:
    @tool
    class F:
        """Finds."""


def above_a_tool() -> None:
    tool(find)


def above_an_agent() -> None:
    @agent
    async def f(query: str) -> str:
        """Finds."""
        return query

    tool(f)


def no_name() -> None:
    tool(name="find it")(find.function)


def long_text() -> None:
    def f(query: str) -> str:
        return query

    f.__doc__ = "x" * 5_000
    tool(f)


def too_many() -> None:
    scope: dict[str, Any] = {}
    exec(f"def f({', '.join(f'a{n}: int' for n in range(65))}) -> str:\n  'Finds.'\n  return ''", scope)
    tool(scope["f"])


def apart_with_context() -> None:
    @tool(isolation="process")
    async def f(ctx: Context) -> str:
        """Finds."""
        return ""


def apart_inside() -> None:
    @tool(isolation="process")
    def f(query: str) -> str:
        """Finds."""
        return query


@pytest.mark.parametrize(
    ("define", "told"),
    [
        (unannotated, "f: annotate 'query', such as query: str"),
        (without_docstring, "f has no docstring; say in one what it does"),
        (only_arguments, "f has no docstring"),
        (star, "so *queries can not be one; name each"),
        (star_star, "so *queries can not be one; name each"),
        (positional, "take the / out of the parameters"),
        (underscore, "give it one without a leading underscore"),
        (unread_type, "f: 'what' is Iterator2, which can not be read from JSON or checked"),
        (no_schema, "f: its arguments have no JSON schema, so no model could give them"),
        (wrong_default, "f: 'limit' is int, and its default 'many' is none"),
        (no_return, "f: annotate what it returns, such as -> str"),
        (unchecked_return, "f returns Iterator2, which can not be read from JSON or checked"),
        (misspelt, "its docstring describes 'qurey', and it has no such parameter; it takes query"),
        (unknown_type, "f: its annotations name something that is no type, or not known yet"),
        (yields, "f yields, and what a tool gives is one result"),
        (yields_async, "f yields, and what a tool gives is one result"),
        (of_a_class, "f: a tool is a plain function, and no method"),
        (above_a_class, "@tool stands above a plain `def` or `async def`, not above <class"),
        (above_a_tool, "@tool stands above a plain `def` or `async def`, not above Tool(name='find'"),
        (above_an_agent, "@tool stands above a plain `def` or `async def`, not above <regrow"),
        (no_name, "'find it' is no name for a tool"),
        (long_text, "the docstring of f has 5,000 signs"),
        (too_many, "f takes 65 arguments, and at most 64"),
        (apart_with_context, "does not reach into another process"),
        (apart_inside, "stands inside of apart_inside.<locals>, where another process can not find it"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_what_could_not_work_is_refused_when_it_is_defined_with_the_mend(define: Callable[[], None], told: str) -> None:
    with pytest.raises(InvalidTool, match=re.escape(told)) as refused:
        define()

    assert isinstance(refused.value, InvalidDefinition)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout_s": 0}, "@tool(timeout_s=0): give seconds above 0 and up to 86,400"),
        ({"timeout_s": float("nan")}, "@tool(timeout_s=nan)"),
        ({"concurrency": 0}, "@tool(concurrency=0): give a whole number from 1 to 1,024"),
        ({"concurrency": True}, "@tool(concurrency=True)"),
        ({"cost_usd": -1}, "@tool(cost_usd=-1)"),
        ({"approval": "always"}, "@tool(approval='always'): give True, or a function of the arguments"),
        ({"isolation": "docker"}, '@tool(isolation=\'docker\'): give "host" or "process"'),
        ({"result_bytes": 2**40}, "@tool(result_bytes="),
        ({"limits": ProcessLimits()}, 'write isolation="process" beside it'),
        ({"limits": ProcessLimits(files=0), "isolation": "process"}, "ProcessLimits(files=0)"),
        ({"limits": ProcessLimits(environment="HOME"), "isolation": "process"}, "give the names of variables"),  # type: ignore[arg-type]
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
def test_an_option_that_is_none_is_told_with_its_value(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidTool, match=re.escape(told)):
        tool(**options)


def test_a_context_of_a_durable_agent_is_a_context() -> None:
    @tool
    async def f(ctx: DurableContext) -> str:
        """Finds."""
        return ctx.id

    assert f.signature.context == "ctx"


@dataclass(frozen=True)
class Found:
    title: str


def test_types_that_json_can_say_are_taken_as_results() -> None:
    @tool
    def f() -> tuple[Found, ...]:
        """Finds."""
        return (Found("x"),)

    assert f.result.dump_json(f.function()) == b'[{"title":"x"}]'


# ---- the list of an agent ------------------------------------------------------------------------


def not_a_tool() -> None:
    class Shop(Agent):
        tools = [len]  # type: ignore[list-item]


def two_of_one_name() -> None:
    other = tool(name="find")(find.function)

    class Shop(Agent):
        tools = [find, other]


def not_a_list() -> None:
    class Shop(Agent):
        tools = find  # type: ignore[assignment]


def too_many_tools() -> None:
    class Shop(Agent):
        tools = [tool(name=f"find_{number}")(find.function) for number in range(129)]


@pytest.mark.parametrize(
    ("define", "told"),
    [
        (not_a_tool, "Shop.tools has len, which is no tool; write @tool above it"),
        (two_of_one_name, "Shop.tools has two tools of the name 'find'"),
        (not_a_list, "write a list of tools, such as tools = [search_web]"),
        (too_many_tools, "Shop has 129 tools, and at most 128"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_list_of_tools_that_is_none_is_refused_when_the_class_is_defined(
    define: Callable[[], None], told: str
) -> None:
    with pytest.raises(InvalidTool, match=re.escape(told)):
        define()


def test_an_agent_has_no_tools_unless_its_class_or_the_one_above_it_lists_them() -> None:
    class Shop(Agent):
        tools = [find]

    class Branch(Shop):
        pass

    class Closed(Shop):
        tools = []

    assert dict(Agent.listed_tools) == {}
    assert list(Branch.listed_tools) == ["find"]
    assert dict(Closed.listed_tools) == {}


def test_a_list_that_is_changed_afterwards_allows_nothing_more() -> None:
    class Shop(Agent):
        tools: list[Tool[Any]] = []  # type: ignore[misc]

    Shop.tools.append(find)

    assert dict(Shop.listed_tools) == {}
