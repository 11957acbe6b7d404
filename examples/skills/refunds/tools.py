"""The tools of the skill; `SKILL.md` says which of them an agent gets."""

from __future__ import annotations

from regrow import Step, tool

PAYMENTS = {"A-1": 4_500, "A-2": 80_000}
paid_back: dict[str, int] = {}


@tool
async def find_payment(order: str) -> int:
    """Finds what was paid for an order, in cents.

    Args:
        order: its number, such as A-1
    """
    if order not in PAYMENTS:
        raise LookupError(f"nothing was paid for {order}")
    return PAYMENTS[order]


@tool(idempotent=True)
async def pay_back(order: str, cents: int, step: Step) -> str:
    """Pays money back for an order.

    Args:
        order: its number
        cents: how much, at most what was paid
    """
    if cents > PAYMENTS.get(order, 0):
        raise ValueError(f"only {PAYMENTS.get(order, 0)} cents were paid for {order}")
    paid_back.setdefault(step.key, cents)
    return f"{cents} cents are on their way"


@tool
async def forget_payment(order: str) -> str:
    """Forgets a payment. SKILL.md does not declare it, so that no agent gets it with the skill."""
    del PAYMENTS[order]
    return f"{order} is forgotten"
