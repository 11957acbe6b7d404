"""What an actor can be: agents with typed handlers, and agent functions.

Reading order: errors, context, handlers → agent → function → adopted; durable → keyed.
"""

if __name__ != "regrow.actors":
    raise ImportError(f"this is regrow.actors; import it under that name, not as {__name__!r}")

from regrow.actors.adopted import Adopted, Prompt, adopt
from regrow.actors.agent import Agent, on
from regrow.actors.context import Context
from regrow.actors.durable import DurableAgent
from regrow.actors.durable_context import DurableContext, Step
from regrow.actors.errors import CutOff, HeldOn, InvalidAgent, InvalidConfig, ThreadsFull, TooManyParts, Unhandled
from regrow.actors.function import FunctionAgent, agent
from regrow.actors.keyed import keyed
from regrow.actors.reminder import Reminder
from regrow.actors.step_retries import Retries

__all__ = [
    "Adopted",
    "Agent",
    "Context",
    "CutOff",
    "DurableAgent",
    "DurableContext",
    "FunctionAgent",
    "HeldOn",
    "InvalidAgent",
    "InvalidConfig",
    "Prompt",
    "Reminder",
    "Retries",
    "Step",
    "ThreadsFull",
    "TooManyParts",
    "Unhandled",
    "adopt",
    "agent",
    "keyed",
    "on",
]
