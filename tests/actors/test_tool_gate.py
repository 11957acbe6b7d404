"""The gate decides from the agent's list, the capability of its message, the tool and the arguments alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from regrow.actors.tool import Tool, tool
from regrow.actors.tool_errors import InvalidArguments, ToolDenied, ToolError, UnknownTool
from regrow.actors.tool_gate import Allowed, Denied, NeedsApproval, allow_list, allowed_tools, decide
from regrow.runtime.errors import NotAllowed, Refused


@tool
def find(query: str, limit: int = 10) -> str:
    """Finds."""
    return query


@tool
def read(path: str) -> str:
    """Reads."""
    return path


@tool(approval=lambda call: call.cents > 100)
def pay(cents: int) -> str:
    """Pays."""
    return str(cents)


@tool(name="find")
def another_find(query: str) -> str:
    """Finds something else."""
    return query


LISTED = allow_list("Shop", [find, pay])


def denied(
    wanted: Tool[Any] | str,
    arguments: Mapping[str, object] | str = "",
    *,
    listed: Mapping[str, Tool[Any]] = LISTED,
    capability: tuple[str, ...] | None = None,
) -> ToolError:
    verdict = decide("desk/shop", listed, capability, wanted, arguments)
    assert isinstance(verdict, Denied)
    assert isinstance(verdict.error, Refused)
    return verdict.error


def test_what_is_listed_is_allowed_with_its_arguments_read() -> None:
    by_object = decide("desk/shop", LISTED, None, find, {"query": "x"})
    by_name = decide("desk/shop", LISTED, None, "find", '{"query": "x"}')

    assert isinstance(by_object, Allowed)
    assert by_object == by_name
    assert by_object.written == '{"query":"x","limit":10}'


def test_what_is_not_listed_is_denied_with_what_to_do() -> None:
    error = denied(read, {"path": "x"})

    assert isinstance(error, ToolDenied)
    assert isinstance(error, NotAllowed)
    assert str(error) == (
        "desk/shop may not run read, which is not in the list of its class (find, pay); what is not in `tools` is "
        "denied, so add it there if this agent is to have it"
    )


def test_nothing_is_listed_unless_somebody_lists_it() -> None:
    assert isinstance(denied(find, listed={}), ToolDenied)
    assert isinstance(denied("find", listed={}), UnknownTool)


def test_a_name_that_no_tool_has_is_told_with_those_that_there_are() -> None:
    assert str(denied("fnid")) == (
        "desk/shop has no tool called 'fnid'; it has find, pay: use one of them, or do without"
    )


def test_a_long_name_is_cut_where_it_is_told() -> None:
    assert len(str(denied("x" * 100_000))) < 300


def test_another_tool_of_a_listed_name_is_denied() -> None:
    assert "is another one than the tool of that name" in str(denied(another_find, {"query": "x"}))


@pytest.mark.parametrize("capability", [(), ("*",), ("desk",), ("!read",), ("*", "!pay")])
def test_what_the_capability_does_not_list_is_denied(capability: tuple[str, ...]) -> None:
    for wanted in (find, "find"):
        error = denied(wanted, {"query": "x"}, capability=capability)

        assert isinstance(error, ToolDenied)
        assert "on behalf of this message, whose capability allows" in str(error)


@pytest.mark.parametrize("capability", [None, ("!*",), ("!find",), ("desk", "!read", "!find")])
def test_what_both_list_is_allowed(capability: tuple[str, ...] | None) -> None:
    assert isinstance(decide("desk/shop", LISTED, capability, "find", {"query": "x"}), Allowed)


def test_a_capability_gives_no_tool_that_is_not_listed() -> None:
    assert isinstance(denied(read, {"path": "x"}, capability=("!*",)), ToolDenied)
    assert [each.name for each in allowed_tools(LISTED, ("!read", "!pay"))] == ["pay"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "query: Field required"),
        ({"query": 3}, "query: Input should be a valid string"),
        ({"query": "x", "where": "y"}, "where: Unexpected keyword argument"),
        ('{"query": "x"', "the whole: Invalid JSON: EOF"),
        ('["x"]', "the whole: Input should be"),
        ("null", "the whole: Input should be"),
        ("nonsense", "the whole: Invalid JSON"),
        ('{"query": "x", "limit": "ten"}', "limit: Input should be a valid integer"),
    ],
)
def test_arguments_that_are_none_are_told_with_what_the_tool_takes(
    arguments: Mapping[str, object] | str, told: str
) -> None:
    error = denied("find", arguments)

    assert isinstance(error, InvalidArguments)
    assert told in str(error)
    assert str(error).endswith("it takes query, limit")


def test_a_tool_without_arguments_may_be_called_with_nothing_as_models_write_it() -> None:
    @tool
    def now() -> str:
        """Tells the time."""
        return ""

    for nothing in ("", "  ", "{}"):
        assert isinstance(decide("desk/shop", {"now": now}, None, "now", nothing), Allowed)
    assert isinstance(decide("desk/shop", {"now": now}, None, "now", {}), Allowed)


@pytest.mark.parametrize("arguments", ['{"query": "' + "x" * 300_000 + '"}', {"query": "ä" * 200_000}])
def test_arguments_beyond_the_limit_are_told_with_it(arguments: Mapping[str, object] | str) -> None:
    error = denied("find", arguments)

    assert isinstance(error, InvalidArguments)
    assert "the limit is 262,144; keep the rest elsewhere" in str(error)


def test_many_problems_are_told_in_a_few_words() -> None:
    error = denied("find", {f"{'x' * 500}{n}": n for n in range(1_000)})

    assert len(str(error)) < 1_500
    assert "more)" in str(error)


def test_consent_is_needed_where_the_function_of_the_arguments_says_so() -> None:
    small = decide("desk/shop", LISTED, None, pay, {"cents": 100})
    large = decide("desk/shop", LISTED, None, pay, {"cents": 101})

    assert isinstance(small, Allowed)
    assert isinstance(large, NeedsApproval)
    assert large.call.written == '{"cents":101}'


def test_what_its_approval_can_not_judge_needs_consent() -> None:
    @tool(name="pay", approval=lambda call: call.cents > 100)
    def pay_some(cents: int | None) -> str:
        """Pays."""
        return str(cents)

    verdict = decide("desk/shop", {"pay": pay_some}, None, "pay", '{"cents": null}')

    assert isinstance(verdict, NeedsApproval)


def test_a_validator_that_fails_otherwise_refuses_the_call() -> None:
    def known(code: str) -> str:
        return {"a": "b"}[code]

    @tool
    def open_door(code: Annotated[str, AfterValidator(known)]) -> str:
        """Opens a door."""
        return code

    error = denied("open_door", {"code": "x"}, listed={"open_door": open_door})

    assert isinstance(error, InvalidArguments)
    assert str(error).startswith("open_door was not run, since its arguments could not be checked (KeyError: 'x')")


def test_what_is_denied_is_denied_before_anybody_is_asked() -> None:
    assert isinstance(denied(pay, {"cents": 101}, capability=("!find",)), ToolDenied)
    assert isinstance(denied(pay, {"cents": "much"}), InvalidArguments)
