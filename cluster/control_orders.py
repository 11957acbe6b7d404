"""What may be asked of the control socket of a running app: its protocol, each line checked before it is done."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from regrow.cluster.control_client import PROTOCOL_VERSION, TIMEOUT_LIMIT_S
from regrow.cluster.deeds import DEED_TIMEOUT_S
from regrow.cluster.set_aside import Decision
from regrow.runtime.errors import Misuse
from regrow.runtime.journal_answers import Assume
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1]


class AboutOrder(_Order):
    do: Literal["about"]


class TreeOrder(_Order):
    do: Literal["tree"]


class StopOrder(_Order):
    do: Literal["stop"]


class AskOrder(_Order):
    """`fields` are the message's own; `words` are as somebody types them, `name=world` or in the fields' order."""

    do: Literal["ask"]
    agent: str
    type: str = ""
    fields: dict[str, Any] | None = None
    words: tuple[str, ...] = ()
    timeout_s: float = Field(default=DEFAULT_ASK_TIMEOUT_S, gt=0, le=TIMEOUT_LIMIT_S)


class DeadLettersOrder(_Order):
    do: Literal["dead_letters"]


class MetricsOrder(_Order):
    do: Literal["metrics"]


class MessagesOrder(_Order):
    """The latest messages of an agent, without what they say."""

    do: Literal["messages"]
    agent: str


class DeedOrder(_Order):
    """To one agent or supervisor, by its whole id."""

    do: Literal["kill", "restart"]
    agent: str
    timeout_s: float = Field(default=DEED_TIMEOUT_S, gt=0, le=TIMEOUT_LIMIT_S)


class ListedOrder(_Order):
    """The messages in quarantine, or those that wait for an answer: of one agent, or of the whole app."""

    do: Literal["set_aside", "waits"]
    agent: str = ""


class DecideOrder(_Order):
    """About one message in quarantine, by its id as `set_aside` tells it."""

    do: Literal["decide"]
    id: str
    decision: Decision
    assume: Assume | None = None


class ApproveOrder(_Order):
    """Answer one of them; `fields` and `words` as in `ask`."""

    do: Literal["approve"]
    id: str
    fields: dict[str, Any] | None = None
    words: tuple[str, ...] = ()


class HistoryOrder(_Order):
    """The newest turns of a durable agent that have ended, at most `limit`."""

    do: Literal["history"]
    agent: str
    limit: int


AnyOrder = (
    AboutOrder
    | TreeOrder
    | StopOrder
    | AskOrder
    | DeadLettersOrder
    | MetricsOrder
    | MessagesOrder
    | DeedOrder
    | ListedOrder
    | DecideOrder
    | ApproveOrder
    | HistoryOrder
)

_ORDER: TypeAdapter[AnyOrder] = TypeAdapter(Annotated[AnyOrder, Field(discriminator="do")])


def parsed(line: bytes) -> AnyOrder:
    """Raises Misuse that says what a request should be."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Misuse(f"a request is one line of JSON ({error}); send it with the regrow command") from error
    version = request.get("v") if isinstance(request, dict) else None
    if version != PROTOCOL_VERSION:
        raise Misuse(
            f"this app speaks version {PROTOCOL_VERSION} of the control protocol and was asked in {version!r}; "
            "use the regrow command of the app's own environment"
        )
    try:
        return _ORDER.validate_python(request)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Misuse(f"the request can not be read: {f'{place}: ' if place else ''}{first['msg']}") from error
