"""A shop whose clerk answers complaints with a model and two tools. Run it with `regrow run shop:app`."""

import asyncio

from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Message,
    Request,
    Step,
    Supervisor,
    child,
    on,
    tool,
)

PAID_CENTS = {"A-1": 4_500, "A-2": 1_200}
LATE = {"A-1"}
bank: dict[str, int] = {}


@tool
async def find_order(order: str) -> str:
    """Finds an order: what was paid for it, and whether it came late.

    Args:
        order: its number, such as A-1
    """
    if order not in PAID_CENTS:
        raise LookupError(f"there is no order {order}")
    return f"{order}: {PAID_CENTS[order]} cents, {'late' if order in LATE else 'on time'}"


@tool(idempotent=True, timeout_s=10)
async def refund(order: str, cents: int, step: Step) -> str:
    """Pays money back for an order.

    Args:
        order: its number
        cents: how much
    """
    await asyncio.sleep(1)  # banks take their time
    bank.setdefault(step.key, cents)
    return f"{cents} cents are on their way"


class Decision(Message):
    """What the clerk has decided."""

    refunded_cents: int
    reason: str


class Complaint(Request[Decision]):
    text: str


RULES = "You are the clerk of a shop. Refund what came late, and never more than was paid."


class Clerk(Agent):
    """Answers complaints. It may look an order up and refund it, and nothing else."""

    tools = [find_order, refund]

    @on
    async def decide(self, complaint: Complaint, ctx: Context) -> Decision:
        answer = await ctx.models.run(complaint.text, instructions=RULES, output=Decision, max_turns=8, max_cost=0.05)
        ctx.log.info("decided", calls=[made.name for made in answer.calls], turns=answer.turns, cost=answer.cost)
        return answer.output


class Book(BaseModel):
    decisions: list[str] = []


class CarefulClerk(DurableAgent[Book]):
    """The same, and what it has begun it ends, whatever dies meanwhile."""

    tools = [find_order, refund]

    @on
    async def decide(self, complaint: Complaint, ctx: DurableContext) -> Decision:
        answer = await ctx.models.run(complaint.text, instructions=RULES, output=Decision, max_turns=8)
        self.state.decisions.append(answer.output.reason)
        return answer.output


app = App("shop", Supervisor(children=[child(Clerk, id="clerk"), child(CarefulClerk, id="careful")]), journal="memory")
