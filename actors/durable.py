"""DurableAgent: an agent whose state and accepted messages survive the death of anything that runs it.

Its state is a pydantic model. A turn may replace it or change it in place; what is left of it when the
handler returns is committed together with the reply and the messages that it sends, or not at all.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from regrow.actors.agent import Agent
from regrow.actors.durable_context import DurableContext
from regrow.actors.durable_errors import StateNotReadable, StateNotStorable, StateReadOnly
from regrow.actors.errors import InvalidAgent
from regrow.actors.read_only import state_read
from regrow.runtime.behavior import Behavior

State = TypeVar("State", bound=BaseModel)


class DurableAgent(Agent, Generic[State]):
    """The root of durable agents: `class Clerk(DurableAgent[Tally])`. All attributes but `state` last for one life."""

    context_class = DurableContext
    takes_read_only = True
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
        if cls.initial.__func__ is DurableAgent.initial.__func__:  # type: ignore[attr-defined] # both are classmethods
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


def read(agent: type[DurableAgent[Any]], packed: bytes, schema: int) -> BaseModel:
    """The state that `written` gave, upgraded where it is older. Raises StateNotReadable."""
    name = agent.__name__
    if schema > agent.schema:
        raise StateNotReadable(
            f"the state of this {name} has schema {schema}, and the code here knows {agent.schema}; "
            "run the newer code, which wrote it"
        )
    try:
        if schema == agent.schema:
            return agent.state_type.model_validate_json(packed)
        import json

        return agent.state_type.model_validate(agent.upgraded(json.loads(packed), schema))
    except ValidationError as error:
        what_next = (
            "change `upgraded`"
            if schema < agent.schema
            else "raise `schema` with each change of the state's shape, and write `upgraded`"
        )
        raise StateNotReadable(
            f"the state of this {name}, of schema {schema}, is no {agent.state_type.__name__} of schema "
            f"{agent.schema} ({error.errors()[0]['msg']} at {error.errors()[0]['loc']}); {what_next}"
        ) from error


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
