"""Which change of an app needs a whole new start, and which a restart of single agents."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from regrow import (
    Agent,
    DurableAgent,
    DynamicSupervisor,
    Message,
    Supervisor,
    agent,
    child,
    keyed,
)
from regrow.cluster.changed_tree import is_changed, specs_of, tree_change
from regrow.runtime import ActorId
from regrow.supervisors import SupervisorSpec

DESK = ActorId("desk")


class Config(Message):
    size: int


class Clerk(Agent):
    config: Config


class Tally(BaseModel):
    asked: int = 0


class Book(DurableAgent[Tally]):
    pass


@agent
async def greet(name: str) -> str:
    return name


def tree(**rules: object) -> SupervisorSpec:
    clerk = {"id": "clerk", "config": Config(size=1), "shutdown_s": 5.0} | rules.pop("clerk", {})  # type: ignore[operator]
    pool = {"max_children": 5} | rules.pop("pool", {})  # type: ignore[operator]
    children = [
        child(Clerk, **clerk),
        child(DynamicSupervisor(child(greet), **pool), id="pool"),
        keyed(Book, id="books"),
    ]
    return Supervisor(children=children, **rules)  # type: ignore[arg-type]


def test_the_same_tree_is_no_change() -> None:
    assert tree_change(tree(), tree(), DESK) == ""


def test_every_child_is_named_also_where_only_its_kind_is_known() -> None:
    assert [actor for actor, _ in specs_of(DESK, tree())] == [
        "desk/clerk",
        "desk/pool",
        "desk/pool/*",
        "desk/books",
        "desk/books/*",
    ]


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (tree(max_restarts=9), "the rules of desk"),
        (tree(strategy="one_for_all"), "the rules of desk"),
        (tree(clerk={"id": "scribe"}), "the children (desk/clerk, desk/scribe)"),
        (tree(clerk={"shutdown_s": 9.0}), "shutdown_s of desk/clerk"),
        (tree(clerk={"restart": "transient"}), "restart of desk/clerk"),
        (tree(clerk={"mailbox": 7}), "mailbox of desk/clerk"),
        (tree(pool={"max_children": 6}), "the rules of desk/pool"),
        (Supervisor(children=list(reversed(tree().children))), "the order of the children"),
        (Supervisor(children=[child(greet, id="clerk"), *tree().children[1:]]), "what desk/clerk is made from"),
    ],
)
def test_rules_and_children_that_differ_are_named(new: SupervisorSpec, told: str) -> None:
    if "made from" in told:
        old = Supervisor(children=[child(Clerk, id="clerk", config=None), *tree().children[1:]])
        assert tree_change(old, new, DESK) == told
    else:
        assert tree_change(tree(), new, DESK) == told


def test_another_config_or_another_import_of_the_code_changes_its_agent_alone() -> None:
    old, other = dict(specs_of(DESK, tree())), dict(specs_of(DESK, tree(clerk={"config": Config(size=2)})))

    assert tree_change(tree(), tree(clerk={"config": Config(size=2)}), DESK) == ""
    assert [actor for actor in old if is_changed(old[actor], other[actor])] == ["desk/clerk"]

    again = type("Clerk", (Agent,), {"__module__": __name__, "__qualname__": "Clerk"})
    new = Supervisor(children=[child(again, id="clerk", shutdown_s=5.0), *tree().children[1:]])
    assert tree_change(tree(), new, DESK) == ""
    assert is_changed(old[ActorId("desk/clerk")], new.children[0])
