"""Specs: what is taken, what is refused, and what the refusal says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.errors import InvalidDefinition
from regrow.runtime.lifecycle import crashed
from regrow.runtime.mailbox import MailboxSettings, Overflow
from regrow.runtime.placement import Dedicated, Packed
from regrow.supervisors import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    FailedToStartChild,
    Kind,
    NoSuchChild,
    Restart,
    SpecError,
    Strategy,
    Supervisor,
    SupervisorSpec,
    child,
)


class Clerk:
    """What is supervised: the least that a cell can drive."""

    async def started(self, ctx: object) -> None: ...

    async def handle(self, message: object, ctx: object) -> None: ...

    async def stopping(self, reason: object, ctx: object) -> None: ...


class HTTPReader2Go(Clerk): ...


class Plain: ...


async def plain(name: str) -> str:
    return name


class Made:
    """Of what says so of itself a behavior is made, as of a function with @agent above it."""

    makes_behavior: ClassVar[bool] = True

    def __init__(self, name: str = "") -> None:
        if name:
            self.__name__ = name


greet = Made("greet")


def refusal(make: Callable[[], object]) -> SpecError:
    """What was refused; its text always names the field, the value and what is allowed."""
    with pytest.raises(SpecError) as caught:
        make()
    error = caught.value
    shown = repr(error.value)
    assert f"{error.field} is {shown[:100]}" in str(error)
    assert str(error).endswith(f"; allowed: {error.allowed}")
    assert error.allowed
    return error


def test_a_child_has_the_documented_defaults() -> None:
    spec = child(Clerk)

    assert spec == ChildSpec(
        id="clerk",
        behavior=Clerk,
        kind=Kind.WORKER,
        restart=Restart.PERMANENT,
        shutdown_s=10.0,
        significant=False,
        config=None,
        placement=None,
        mailbox=MailboxSettings(capacity=1_000, overflow=Overflow.BLOCK),
    )


def test_a_supervisor_has_the_documented_defaults() -> None:
    assert Supervisor() == SupervisorSpec(
        strategy=Strategy.ONE_FOR_ONE,
        max_restarts=3,
        within_s=5.0,
        auto_shutdown=AutoShutdown.NEVER,
        children=(),
        backoff=None,
    )


def test_a_nested_supervisor_may_take_any_time_to_stop() -> None:
    spec = child(Supervisor(), id="readers")

    assert (spec.kind, spec.shutdown_s) == (Kind.SUPERVISOR, None)


def test_a_nested_supervisor_keeps_a_shutdown_limit_that_was_given() -> None:
    assert child(Supervisor(), id="readers", shutdown_s=3).shutdown_s == 3


@pytest.mark.parametrize(
    ("target", "expected"),
    [(Clerk, "clerk"), (HTTPReader2Go, "http_reader2_go"), (greet, "greet")],
)
def test_the_id_is_the_name_of_the_target_in_snake_case(target: type[Clerk] | Made, expected: str) -> None:
    assert child(target).id == expected


def test_enums_are_taken_as_well_as_words() -> None:
    words = child(Clerk, restart="transient", overflow="drop_oldest")
    enums = child(Clerk, restart=Restart.TRANSIENT, overflow=Overflow.DROP_OLDEST)

    assert words == enums


def test_children_keep_their_order_from_any_iterable() -> None:
    spec = Supervisor(children=(child(Clerk, id=name) for name in "cab"))

    assert [each.id for each in spec.children] == ["c", "a", "b"]


def test_specs_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        child(Clerk).id = "other"  # type: ignore[misc]


def test_a_changed_copy_is_checked_again() -> None:
    error = refusal(lambda: dataclasses.replace(child(Clerk), mailbox=MailboxSettings(capacity=0)))

    assert error.field == "mailbox"


def test_a_spec_error_names_field_value_and_what_is_allowed() -> None:
    error = refusal(lambda: child(Clerk, restart=cast(Any, "always")))

    assert str(error) == "child 'clerk': restart is 'always'; allowed: 'permanent', 'transient' or 'temporary'"
    assert (error.field, error.value) == ("restart", "always")
    assert isinstance(error, InvalidDefinition)


def test_an_enormous_value_is_shown_cut() -> None:
    error = refusal(lambda: child(Clerk, id="x" * 10_000))

    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("restart", {"restart": None}),
        ("overflow", {"overflow": "drop"}),
        ("shutdown_s", {"shutdown_s": -1}),
        ("shutdown_s", {"shutdown_s": math.nan}),
        ("shutdown_s", {"shutdown_s": math.inf}),
        ("shutdown_s", {"shutdown_s": "soon"}),
        ("shutdown_s", {"shutdown_s": True}),
        ("mailbox", {"mailbox": 0}),
        ("mailbox", {"mailbox": 2.5}),
        ("mailbox", {"mailbox": True}),
        ("placement", {"placement": "dedicated"}),
        ("significant", {"significant": "yes"}),
        ("significant", {"significant": True, "restart": "permanent"}),
        ("id", {"id": ""}),
        ("id", {"id": 7}),
        ("id", {"id": "x" * 201}),
    ],
)
def test_a_child_refuses(field: str, arguments: dict[str, Any]) -> None:
    assert refusal(lambda: child(Clerk, **arguments)).field == field


@pytest.mark.parametrize("character", ["/", "#", ":", "$", "*", " ", "\n", "\u00a0", "\x00"])
def test_an_id_refuses_characters_that_addresses_and_keys_are_made_of(character: str) -> None:
    assert refusal(lambda: child(Clerk, id=f"a{character}b")).field == "id"


@pytest.mark.parametrize("target", [None, 3, "clerk", Clerk(), [Clerk], Plain, Plain(), int, plain, lambda: None])
def test_a_target_of_which_no_behavior_is_made_is_refused_with_what_may_be_one(target: Any) -> None:
    for make in (lambda: child(target), lambda: child(target, id="it"), lambda: ChildSpec(id="it", behavior=target)):
        error = refusal(make)

        assert (error.field, error.value) == ("target", target)
        assert f"target is {target!r}"[:60] in str(error)
        assert (
            "allowed: a class derived from Agent, a function with @agent above it or in adopt(…), a Supervisor(…)"
            in str(error)
        )


@pytest.mark.parametrize("target", [Made(), Supervisor()])
def test_a_target_without_a_name_of_its_own_needs_an_id(target: Any) -> None:
    error = refusal(lambda: child(target))

    assert error.field == "id"
    assert child(target, id="it").behavior is target


@pytest.mark.parametrize(("name", "value"), [("config", object()), ("placement", Dedicated())])
def test_a_nested_supervisor_refuses_what_it_would_not_use(name: str, value: object) -> None:
    arguments: dict[str, Any] = {name: value}

    assert refusal(lambda: child(Supervisor(), id="sub", **arguments)).field == name


def test_a_placement_is_kept() -> None:
    assert child(Clerk, placement=Packed("pool", hosts=2)).placement == Packed("pool", hosts=2)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("strategy", {"strategy": "simple_one_for_one"}),
        ("strategy", {"strategy": 1}),
        ("auto_shutdown", {"auto_shutdown": "always"}),
        ("max_restarts", {"max_restarts": -1}),
        ("max_restarts", {"max_restarts": 3.0}),
        ("max_restarts", {"max_restarts": True}),
        ("within_s", {"within_s": 0}),
        ("within_s", {"within_s": -5}),
        ("within_s", {"within_s": math.nan}),
        ("within_s", {"within_s": math.inf}),
        ("within_s", {"within_s": "5"}),
        ("backoff", {"backoff": 2.0}),
        ("children", {"children": None}),
        ("children", {"children": "clerk"}),
        ("children", {"children": {"clerk": Clerk}}),
        ("children", {"children": [Clerk]}),
    ],
)
def test_a_supervisor_refuses(field: str, arguments: dict[str, Any]) -> None:
    assert refusal(lambda: Supervisor(**arguments)).field == field


def test_two_children_with_one_id_are_refused() -> None:
    error = refusal(lambda: Supervisor(children=[child(Clerk), child(greet, id="clerk")]))

    assert (error.field, error.value) == ("id", "clerk")


def test_a_significant_child_is_refused_where_it_could_not_matter() -> None:
    chosen = child(Clerk, restart="transient", significant=True)

    assert refusal(lambda: Supervisor(children=[chosen])).field == "significant"
    assert Supervisor(auto_shutdown="any_significant", children=[chosen]).children == (chosen,)


@pytest.mark.parametrize(
    ("first_s", "max_s"), [(0, 1), (-1, 1), (1, math.inf), (math.nan, 1), (2, 1), (True, 2), ("1", 2)]
)
def test_a_backoff_refuses(first_s: Any, max_s: Any) -> None:
    assert refusal(lambda: Backoff(first_s=first_s, max_s=max_s)).field in ("first_s", "max_s")


@pytest.mark.slow
@given(st.text(max_size=12))
def test_an_id_is_either_usable_in_a_path_or_refused(text: str) -> None:
    try:
        spec = child(Clerk, id=text)
    except SpecError:
        return

    assert f"desk/{spec.id}#3".split("/") == ["desk", f"{text}#3"]
    assert text.strip() == text != ""


def test_a_failed_start_keeps_the_first_cause_through_nested_supervisors() -> None:
    first = crashed(ValueError("no such folder"))
    error = FailedToStartChild("desk", FailedToStartChild("readers", FailedToStartChild("pdf", first)))

    assert error.path == "desk/readers/pdf"
    assert error.root_cause is first
    assert (
        str(error) == "child 'desk/readers/pdf' failed to start (ValueError: no such folder); mend that and start again"
    )


def test_an_unknown_child_is_told_with_those_there_are() -> None:
    assert str(NoSuchChild("desk", "clark", known=["clerk"])) == ("desk has no child 'clark'; its children are: clerk")


# ---- dynamic supervisors ---------------------------------------------------------------------------


def test_a_dynamic_supervisor_has_the_documented_defaults() -> None:
    spec = DynamicSupervisor(child(Clerk))

    assert (spec.max_children, spec.max_restarts, spec.within_s, spec.backoff) == (10_000, 3, 5.0, None)
    assert child(spec, id="pool").kind is Kind.SUPERVISOR
    assert child(spec, id="pool").shutdown_s is None


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("child", {"child": Clerk}),
        ("child", {"child": [child(Clerk)]}),
        ("significant", {"child": child(Clerk, restart="transient", significant=True)}),
        ("max_children", {"max_children": 0}),
        ("max_children", {"max_children": -1}),
        ("max_children", {"max_children": math.inf}),
        ("max_children", {"max_children": True}),
        ("max_restarts", {"max_restarts": -1}),
        ("within_s", {"within_s": 0}),
        ("backoff", {"backoff": 1.0}),
    ],
)
def test_a_dynamic_supervisor_refuses(field: str, arguments: dict[str, Any]) -> None:
    given: dict[str, Any] = {"child": child(Clerk), **arguments}

    error = refusal(lambda: DynamicSupervisor(**given))

    assert error.field == field
    assert "allowed: " in str(error)


@pytest.mark.parametrize(("field", "placement"), [("pool", Packed("")), ("hosts", Packed("pool", hosts=0))])
def test_a_pool_without_name_or_hosts_is_refused(field: str, placement: Packed) -> None:
    assert refusal(lambda: child(Clerk, placement=placement)).field == field


def test_a_refusal_among_thousands_of_children_names_only_some_of_them() -> None:
    error = NoSuchChild("desk", "x", known=[str(number) for number in range(10_000)])

    assert len(str(error)) < 400
    assert "9980 more" in str(error)
