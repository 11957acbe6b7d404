"""Every error of the router room, sorted by who has to act.

Refused (runtime)
├── OutOfBudget (runtime)
│   └── BudgetExceeded      the next call could pass the budget: raise it, or ask for less
├── ProviderFailed          also WorldBroke: the model behind the router gave no usable answer
│   ├── KeyRejected             the key is missing, wrong or not allowed this model
│   ├── RateLimited             too many calls for now; `retry_after_s` says when, where known
│   ├── RequestRejected         the provider will not run this request as it is
│   ├── ProviderUnreachable     no connection, or it broke
│   ├── ProviderTimedOut        connected, but no answer in time; it may have run and cost
│   ├── ProviderBroke           the provider reports a fault of its own (5xx)
│   └── BadAnswer               it answered, but not in a form that can be read
└── LedgerUnreachable       also WorldBroke: the budget cannot be checked, so nothing is spent
Misuse (runtime)
├── InvalidSettings         the model settings do not fit together: mend the config
└── ToolsNotRun             tools were given to a completion, which runs none, in place of their schemas

A failing provider is a fault of the world, but restarting the router would not mend it and would end
the calls of everybody else. So these errors are `Refused` too: the asker gets them, the router lives.
Each can be built from its text alone, so that it survives the way to the asker.
"""

from __future__ import annotations

from regrow.runtime.errors import Misuse, OutOfBudget, Refused, WorldBroke


class InvalidSettings(Misuse):
    """Model settings that do not fit together; the text says which and how to mend them."""


class ToolsNotRun(Misuse):
    """A completion was asked for with tools; it takes their schemas, and whoever asks runs them."""


class BudgetExceeded(OutOfBudget):
    """The call was refused before it was sent, because it could have passed the budget.

    Attributes: `budget_usd`, `spent_usd`, `reserved_usd` (calls in flight) and `needed_usd` (the most
    this call could cost; None where its price is not known).
    """

    def __init__(
        self,
        text: str,
        *,
        budget_usd: float = 0.0,
        spent_usd: float = 0.0,
        reserved_usd: float = 0.0,
        needed_usd: float | None = None,
    ) -> None:
        super().__init__(text)
        self.budget_usd = budget_usd
        self.spent_usd = spent_usd
        self.reserved_usd = reserved_usd
        self.needed_usd = needed_usd


class ProviderFailed(WorldBroke, Refused):
    """The model provider gave no usable answer; the text says why and what to do next.

    Attributes: `provider`, `model`, and `may_have_cost`: whether the provider may bill the call all the
    same, in which case the ledger settles it at its reserve.
    """

    def __init__(self, text: str, *, provider: str = "", model: str = "", may_have_cost: bool = False) -> None:
        super().__init__(text)
        self.provider = provider
        self.model = model
        self.may_have_cost = may_have_cost


class KeyRejected(ProviderFailed):
    """The provider does not accept the key, or the key does not reach this model."""


class RateLimited(ProviderFailed):
    """The provider takes no more calls for now.

    Attributes: `retry_after_s`, the provider's own advice, or None where it gave none.
    """

    def __init__(
        self,
        text: str,
        *,
        provider: str = "",
        model: str = "",
        may_have_cost: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(text, provider=provider, model=model, may_have_cost=may_have_cost)
        self.retry_after_s = retry_after_s


class RequestRejected(ProviderFailed):
    """The provider will not run this request: unknown model, too long, or a wrong parameter."""


class ProviderUnreachable(ProviderFailed):
    """The provider could not be reached, or the connection broke before the answer was complete."""


class ProviderTimedOut(ProviderFailed):
    """The provider was reached and did not answer in time; it may have run the request."""


class ProviderBroke(ProviderFailed):
    """The provider reports a fault of its own."""


class BadAnswer(ProviderFailed):
    """The provider answered in a form that can not be read as a completion."""


class LedgerUnreachable(WorldBroke, Refused):
    """The ledger's store does not answer, so the budget can not be checked and no call is made."""


FOR_A_WHILE = (RateLimited, ProviderUnreachable, ProviderTimedOut, ProviderBroke, LedgerUnreachable)
"""What may be over when the same is asked again, a little later."""
