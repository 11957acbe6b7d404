"""DurableAgent: an agent whose state and accepted messages survive the death of anything that runs it.

Its state is a pydantic model. A turn may replace it or change it in place; what is left of it when the
handler returns is committed together with the reply and the messages that it sends, or not at all.
"""

from __future__ import annotations

import json
from inspect import getattr_static
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from regrow.actors.agent import Agent
from regrow.actors.durable_context import DurableContext
from regrow.actors.durable_errors import StateNotReadable, StateNotStorable, StateReadOnly
from regrow.actors.durable_home import KEEPING
from regrow.actors.errors import InvalidAgent
from regrow.actors.read_only import state_read
from regrow.runtime.address import ActorId
from regrow.runtime.behavior import Behavior
from regrow.runtime.contain import text_of

State = TypeVar("State", bound=BaseModel)


class DurableAgent(Agent, Generic[State]):
    """The root of durable agents: `class Clerk(DurableAgent[Tally])`. All attributes but `state` last for one life."""

    context_class = DurableContext
    takes_read_only = True
    overflows = KEEPING
    state_type: ClassVar[type[BaseModel]]
    schema: ClassVar[int] = 1
    """The version of the state's shape: raise it with each change, and have `upgraded` read the older ones."""
    poison_after: ClassVar[int] = 3
    """A message on which the agent has crashed so often is set aside, into quarantine."""

    _state: State

    @property
    def state(self) -> State:
        """What is kept. It begins as `Tally()` or what `initial` gives; read_only handlers see what is committed."""
        seen = state_read(self)
        return self._state if seen is None else cast("State", seen)

    @state.setter
    def state(self, state: State) -> None:
        if state_read(self) is not None:
            raise StateReadOnly(
                f"a handler of {type(self).__name__} that is @on(read_only=True) sets `self.state`; "
                "take read_only=True away, or only read the state in it"
            )
        self._state = state

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.state_type = _state_type(cls)
        concurrent = [handler.name for handler in cls.handlers.values() if handler.concurrent]
        if concurrent:
            raise InvalidAgent(
                f"{cls.__name__}.{concurrent[0]} is @on(concurrent=True), and a durable agent has one turn at a time, "
                "since each begins with the state that the last one left; take concurrent=True away"
            )
        for name, arguments in (("initial", "cls"), ("upgraded", "cls, state, schema")):
            if not isinstance(getattr_static(cls, name), classmethod | staticmethod):
                raise InvalidAgent(
                    f"{cls.__name__}.{name} is asked of the class, before there is a state; write "
                    f"`@classmethod def {name}({arguments})`"
                )
        if getattr_static(cls, "initial") is getattr_static(DurableAgent, "initial"):
            try:
                cls.state_type()
            except ValidationError as error:
                raise InvalidAgent(
                    f"{cls.__name__} begins with {cls.state_type.__name__}(), which does not work "
                    f"({error.error_count()} of its fields have no default); give them one, or write "
                    "`@classmethod def initial(cls)`"
                ) from error

    @classmethod
    def initial(cls) -> State:
        """The state of an agent that has none yet."""
        return cast("State", cls.state_type())

    @classmethod
    def upgraded(cls, state: dict[str, Any], schema: int) -> dict[str, Any]:
        """The JSON form of a state of an earlier `schema` as one of the present. Override it for a change of shape."""
        return state

    @classmethod
    def made(cls, config: object | None) -> Behavior:  # type: ignore[override] # the agent, and what drives it
        """See Agent.made."""
        from regrow.actors.durable_life import DurableLife  # it drives agents, so it knows them

        agent = cast("DurableAgent[Any]", super().made(config))
        return DurableLife(agent)


def written(state: BaseModel) -> bytes:
    """A state as bytes. Raises StateNotStorable."""
    try:
        return state.model_dump_json().encode()
    except ValueError as error:  # what pydantic raises for values that JSON has no form for
        raise StateNotStorable(f"{type(state).__name__} can not be stored: {error}") from error


def read(agent: type[DurableAgent[Any]], packed: bytes, schema: int, *, id: ActorId) -> BaseModel:
    """The state that `written` gave, upgraded where it is older. Raises StateNotReadable."""
    whose = f"the state of {id}, of schema {schema},"
    kept = "it is kept as it is"
    if schema > agent.schema:
        raise StateNotReadable(
            f"{whose} is newer than {agent.__name__} of schema {agent.schema} here; {kept}: run the newer code, which "
            "wrote it"
        )
    try:
        if schema == agent.schema:
            return agent.state_type.model_validate_json(packed)
        return agent.state_type.model_validate(_upgraded(agent, packed, schema, whose=whose))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "its top"
        what_next = (
            f"have {agent.__name__}.upgraded give what the class wants"
            if schema < agent.schema
            else f"raise {agent.__name__}.schema with each change of the state's shape, and write `upgraded`"
        )
        raise StateNotReadable(
            f"{whose} is no {agent.state_type.__name__} of schema {agent.schema} ({first['msg']} at {at}); {kept}: "
            f"{what_next}"
        ) from error


def check_nothing_lost(agent: type[DurableAgent[Any]], packed: bytes, state: BaseModel, *, id: ActorId) -> None:
    """Raises StateNotReadable where a state of the present schema holds what the class here does not know.

    The first commit would lose it: a field that was renamed, or taken away, without a new schema. A new field that
    has a default loses nothing.
    """
    again = written(state)
    if again != packed and (lost := _lost(json.loads(packed), json.loads(again))):
        raise StateNotReadable(
            f"the state of {id} holds {lost!r}, and {agent.state_type.__name__} has no such field, so the next commit "
            f"would lose it; it is kept as it is: raise {agent.__name__}.schema (now {agent.schema}), and say in "
            "`upgraded` what becomes of it"
        )


def _upgraded(agent: type[DurableAgent[Any]], packed: bytes, schema: int, *, whose: str) -> object:
    try:
        stored = json.loads(packed)
    except ValueError as error:
        raise StateNotReadable(f"{whose} is damaged: it is no JSON ({error}); bring the store's data back") from error
    try:
        return agent.upgraded(stored, schema)
    except Exception as error:  # code of the agent's author, whose error alone would name neither agent nor mend
        raise StateNotReadable(
            f"{whose} could not be upgraded to {agent.schema}: {agent.__name__}.upgraded raised "
            f"{type(error).__name__}: {text_of(error):.300}; it is kept as it is: mend `upgraded`"
        ) from error


def _lost(stored: object, again: object, at: str = "") -> str:
    """Where the first thing stands that is in one and not in the other; nothing where all is there."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for name, value in stored.items():
            place = f"{at}.{name}" if at else name
            if name not in again:
                return place
            if found := _lost(value, again[name], place):
                return found
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for number, (value, its) in enumerate(zip(stored, again, strict=True)):
            if found := _lost(value, its, f"{at}.{number}"):
                return found
    return ""


def _state_type(cls: type) -> type[BaseModel]:
    for base in getattr(cls, "__orig_bases__", ()):
        origin, arguments = get_origin(base), get_args(base)
        if isinstance(origin, type) and issubclass(origin, DurableAgent) and arguments:
            state = arguments[0]
            if isinstance(state, type) and issubclass(state, BaseModel):
                return state
            raise InvalidAgent(
                f"{cls.__name__} is a DurableAgent[{getattr(state, '__name__', state)}], and a state is a pydantic "
                "model; derive it from BaseModel"
            )
    for ancestor in cls.__mro__[1:]:
        inherited = vars(ancestor).get("state_type")
        if inherited is not None:
            return cast("type[BaseModel]", inherited)
    raise InvalidAgent(
        f"{cls.__name__} does not say what its state is; write class {cls.__name__}(DurableAgent[Tally])"
    )
