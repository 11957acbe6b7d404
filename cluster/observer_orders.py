"""What somebody may do to an app from its page, as requests of that page; and how it went, in one sentence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from regrow.cluster import cli_calls, views
from regrow.runtime.errors import Misuse
from regrow.runtime.journal_answers import Assume

ORDER_LIMIT_BYTES = 65_536
"""What a request of a page may have: an answer to a message, typed by a person."""
ID_CHARS = 2_000
DEED_WITHIN_S = 30.0
"""How long a kill or restart is waited for; what was begun goes on, and the page shows it."""


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Deed(_Order):
    """To one agent or supervisor, by its whole id."""

    do: Literal["kill", "restart"]
    agent: str = Field(max_length=ID_CHARS)


class Decide(_Order):
    """About one message in quarantine."""

    do: Literal["requeue", "drop"]
    id: str = Field(max_length=ID_CHARS)
    assume: Assume | None = None


class Look(_Order):
    """At one message in quarantine."""

    do: Literal["show"]
    id: str = Field(max_length=ID_CHARS)


class Approve(_Order):
    """The answer to a message that waits for one: its fields, each of which has its default."""

    do: Literal["approve"]
    id: str = Field(max_length=ID_CHARS)
    fields: dict[str, Any] = Field(default_factory=dict)


Order = Deed | Decide | Look | Approve

_ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="do")])


def order_of(body: bytes) -> Order:
    """Raises Misuse where this is no order."""
    try:
        return _ORDER.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Misuse(f"this order can not be read: {f'{place}: ' if place else ''}{first['msg']}") from error


def carry_out(app: str, order: Order) -> dict[str, Any]:
    """Does it, and tells how it went as `text`. Raises Misuse for what is of another app, and what the app raises."""
    target = order.agent if isinstance(order, Deed) else order.id
    if target.partition("/")[0].partition(":")[0] != app:
        raise Misuse(f"{target!r:.100} is nothing of {app}, the app that this page shows")
    match order:
        case Deed():
            done = cli_calls.done_to(order.agent, order.do, timeout_s=DEED_WITHIN_S)
            return {"text": views.deed_text(done)}
        case Decide(do="requeue"):
            assume = order.assume.value if order.assume is not None else None
            cli_calls.decided(order.id, "requeue", assume=assume)
            return {"text": f"{order.id} is in its agent's mailbox again"}
        case Decide():
            cli_calls.decided(order.id, "drop")
            return {"text": f"{order.id} is forgotten"}
        case Look():
            return {"text": "", "message": cli_calls.decided(order.id, "show")}
        case Approve():
            told = cli_calls.approved_with(order.id, order.fields)
            return {"text": f"{order.id} has its answer: {told['type'].rpartition(':')[2]} {told['answer']}"}
