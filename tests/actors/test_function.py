"""Agent functions: a typed function, its request, and the agent made of both."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from regrow.actors.adopted import adopt
from regrow.actors.context import Context
from regrow.actors.errors import InvalidAgent
from regrow.actors.function import FunctionAgent, agent
from regrow.runtime.errors import InvalidMessage
from regrow.runtime.message import Request, reply_type
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Process


@agent
async def greet(name: str, greeting: str = "Hello") -> str:
    """Greets someone."""
    return f"{greeting}, {name}"


@agent
def add(one: int, other: int = 1) -> int:
    return one + other


@agent
async def led_by(ctx: Context, name: str) -> str:
    return f"{ctx.id} {name}"


@agent
async def followed_by(name: str, ctx: Context) -> str:
    return f"{ctx.id} {name}"


@agent
def thread_of() -> int:
    return threading.get_ident()


@agent
async def forget(name: str) -> None:
    """Answers nothing."""


async def started(function: FunctionAgent[..., Any]) -> Any:
    return await Process().start("desk/it", function.agent_class)


# ---- as an agent ---------------------------------------------------------------------------------


@virtual
async def test_an_agent_function_answers_with_what_it_returns() -> None:
    ref = await started(greet)

    assert await ref.ask(greet.request("Ada", "Hi")) == "Hi, Ada"


@virtual
async def test_arguments_left_out_have_their_defaults() -> None:
    ref = await started(greet)

    assert await ref.ask(greet.request("Ada")) == "Hello, Ada"


@virtual
async def test_arguments_may_be_given_by_name_in_any_order() -> None:
    ref = await started(greet)

    assert await ref.ask(greet.request(greeting="Hi", name="Ada")) == "Hi, Ada"


@virtual
async def test_a_plain_function_answers_from_another_thread() -> None:
    ref = await started(thread_of)

    assert await ref.ask(thread_of.request()) != threading.get_ident()


@virtual
async def test_an_agent_function_may_return_nothing() -> None:
    ref = await started(forget)

    assert await ref.ask(forget.request("Ada")) is None


@pytest.mark.parametrize("function", [led_by, followed_by], ids=["first", "last"])
def test_a_context_parameter_gets_the_context_and_is_no_part_of_the_message(function: Any) -> None:
    @virtual
    async def run() -> None:
        ref = await started(function)

        assert await ref.ask(function.request("Ada")) == "desk/it Ada"
        assert set(function.request_class.model_fields) == {"name"}

    run()


# ---- its request ---------------------------------------------------------------------------------


def test_the_request_has_the_parameters_and_expects_the_return() -> None:
    assert issubclass(add.request_class, Request)
    assert set(add.request_class.model_fields) == {"one", "other"}
    assert reply_type(add.request_class) is int


WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1, 2, 3), {}),
    ((1,), {"one": 1}),
    ((1,), {"third": 3}),
]


@pytest.mark.parametrize(("args", "kwargs"), WRONG, ids=["missing", "too many", "twice", "unknown"])
def test_arguments_that_the_function_does_not_take_are_a_type_error(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match=r"^add\(\) takes \(one, other\); got "):
        add.request(*args, **kwargs)


def test_the_context_is_no_argument_of_a_request() -> None:
    with pytest.raises(TypeError, match=r"^followed_by\(\) takes \(name\); got "):
        followed_by.request("Ada", None)  # type: ignore[arg-type]


# ---- as a function -------------------------------------------------------------------------------


async def test_called_an_async_agent_function_is_still_that_function() -> None:
    assert await greet("Ada", greeting="Hi") == "Hi, Ada"


def test_called_a_plain_agent_function_is_still_that_function() -> None:
    assert add(1, other=2) == 3


def test_an_agent_function_keeps_the_name_and_text_of_its_function() -> None:
    assert (greet.__name__, greet.__qualname__, greet.__module__) == ("greet", "greet", __name__)
    assert greet.__doc__ == "Greets someone."


# ---- definitions ---------------------------------------------------------------------------------


def test_a_function_without_return_annotation_is_refused_with_an_example() -> None:
    def tell(name: str):  # type: ignore[no-untyped-def]
        return name

    with pytest.raises(InvalidAgent, match=r"^tell: annotate what it returns, such as -> str or -> None$"):
        agent(tell)


def test_a_parameter_without_annotation_is_refused_and_named() -> None:
    def tell(name) -> str:  # type: ignore[no-untyped-def]
        return str(name)

    with pytest.raises(InvalidAgent, match=r"^tell: annotate 'name', since the message is made from it$"):
        agent(tell)


def _star(*names: str) -> str:
    return "".join(names)


def _double_star(**names: str) -> str:
    return "".join(names)


@pytest.mark.parametrize("function", [_star, _double_star])
def test_a_parameter_that_takes_any_number_is_refused(function: Any) -> None:
    name = function.__name__

    with pytest.raises(InvalidAgent, match=rf"^{name}: a message has named fields, so \*names can not be one; name"):
        agent(function)


def test_a_parameter_that_could_be_changed_after_sending_is_refused_with_the_mend() -> None:
    def tell(names: list[str]) -> str:
        return "".join(names)

    with pytest.raises(InvalidMessage, match=r"names is declared list\[str\].* use tuple\[…\], frozenset\[…\]"):
        agent(tell)


class Plain:
    """No function."""


def test_a_parameter_of_a_plain_class_is_refused_with_the_mend_also_where_it_is_adopted() -> None:
    async def look(at: Plain) -> str:
        return ""

    for made in (agent, adopt):
        with pytest.raises(InvalidMessage, match=r"look\.Request\.at is declared Plain.*use .*a frozen dataclass"):
            made(look)


@pytest.mark.parametrize("target", [Plain, Plain(), greet, len], ids=["class", "object", "agent", "builtin"])
def test_what_is_no_plain_function_is_refused(target: Any) -> None:
    text = f"@agent stands above a plain `def` or `async def`, not above {target!r}"

    with pytest.raises(InvalidAgent, match=f"^{re.escape(text)}$"):
        agent(target)


def test_types_may_be_defined_in_the_function_that_defines_the_agent() -> None:
    class Local(Request[str]):
        pass

    @agent
    async def pass_on(what: Local) -> str:
        return ""

    assert pass_on.request_class.model_fields["what"].annotation is Local


def test_a_parameter_that_can_be_no_named_field_is_refused() -> None:
    async def hidden(_name: str) -> str:
        return _name

    async def by_place(name: str, /) -> str:
        return name

    async def taken(copy: str) -> str:
        return copy

    with pytest.raises(InvalidAgent, match="hidden: '_name' becomes a named field"):
        agent(hidden)
    with pytest.raises(InvalidAgent, match="by_place: 'name' becomes a named field"):
        agent(by_place)
    told = "every message has a 'copy' of its own"
    with pytest.warns(UserWarning, match="shadows"), pytest.raises(InvalidMessage, match=told):
        agent(taken)


def test_a_function_that_yields_is_refused() -> None:
    async def parts(text: str) -> AsyncIterator[str]:
        yield text

    with pytest.raises(InvalidAgent, match="parts yields, and what a handler gives is one reply"):
        agent(parts)
