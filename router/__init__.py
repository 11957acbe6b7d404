"""The router: sends each piece of work to a small or a large model, inside a budget, and records it.

Reading order: `errors`; `conversation` (what is said in turns), `request` (what is asked and answered), `settings`
(which models), `catalog` (cards and prices), `usage` (what calls came to), `tabs` (and on whose behalf); the ports
`provider` and `ledger`, each with its twin; the adapters `openai_provider` (with `prompting`, `openai_tools`),
`extractive_provider` (with `markup`, `sentences`, `terms`, `ranking`, `digest`) and `redis_ledger`; `policy`, which
decides; `router`, which does; `service`, the behavior around it, with `run_budget`; `models`, what an agent holds;
`hidden_retries`, which decides on attempts over the wire, and `wire_attempts`, which sees them. Importing the room
loads none of it: a name is loaded when it is first used.
"""

if __name__ != "regrow.router":
    raise ImportError(f"this is regrow.router; import it under that name, not as {__name__!r}")

from typing import TYPE_CHECKING

from regrow.runtime.late_names import late_names

if TYPE_CHECKING:
    from regrow.router.catalog import ModelCard, PriceBand
    from regrow.router.conversation import Role, Said, ToolCall, ToolResult, ToolSchema
    from regrow.router.errors import (
        BadAnswer,
        BudgetExceeded,
        InvalidSettings,
        KeyRejected,
        LedgerUnreachable,
        ProviderBroke,
        ProviderFailed,
        ProviderTimedOut,
        ProviderUnreachable,
        RateLimited,
        RequestRejected,
        ToolsNotRun,
    )
    from regrow.router.ledger import Ledger, MemoryLedger
    from regrow.router.models import Ask, Citable, Models
    from regrow.router.provider import Provider, ProviderReply, ScriptedProvider
    from regrow.router.request import (
        FinishReason,
        ModelPart,
        ModelReply,
        ModelRequest,
        Passage,
        Quote,
        Tier,
        Usage,
        Work,
    )
    from regrow.router.router import RoutedModel, Router
    from regrow.router.service import RouterService, router_service
    from regrow.router.settings import ModelSettings, PriceSettings, ProviderName, RouterSettings, from_environment
    from regrow.router.usage import Call, CallId, CallRecord, Totals, UsageReport, UsageTotals
    from regrow.router.wire_attempts import WireWatch

__all__ = [
    "Ask",
    "BadAnswer",
    "BudgetExceeded",
    "Call",
    "CallId",
    "CallRecord",
    "Citable",
    "FinishReason",
    "InvalidSettings",
    "KeyRejected",
    "Ledger",
    "LedgerUnreachable",
    "MemoryLedger",
    "ModelCard",
    "ModelPart",
    "ModelReply",
    "ModelRequest",
    "ModelSettings",
    "Models",
    "Passage",
    "PriceBand",
    "PriceSettings",
    "Provider",
    "ProviderBroke",
    "ProviderFailed",
    "ProviderName",
    "ProviderReply",
    "ProviderTimedOut",
    "ProviderUnreachable",
    "Quote",
    "RateLimited",
    "RequestRejected",
    "Role",
    "RoutedModel",
    "Router",
    "RouterService",
    "RouterSettings",
    "Said",
    "ScriptedProvider",
    "Tier",
    "ToolCall",
    "ToolResult",
    "ToolSchema",
    "ToolsNotRun",
    "Totals",
    "Usage",
    "UsageReport",
    "UsageTotals",
    "WireWatch",
    "Work",
    "from_environment",
    "router_service",
]

if not TYPE_CHECKING:  # a checker that saw this function would take every misspelt name for a good one
    __getattr__ = late_names(
        __name__,
        {
            "catalog": (
                "ModelCard",
                "PriceBand",
            ),
            "conversation": (
                "Role",
                "Said",
                "ToolCall",
                "ToolResult",
                "ToolSchema",
            ),
            "errors": (
                "BadAnswer",
                "BudgetExceeded",
                "InvalidSettings",
                "KeyRejected",
                "LedgerUnreachable",
                "ProviderBroke",
                "ProviderFailed",
                "ProviderTimedOut",
                "ProviderUnreachable",
                "RateLimited",
                "RequestRejected",
                "ToolsNotRun",
            ),
            "ledger": (
                "Ledger",
                "MemoryLedger",
            ),
            "models": (
                "Ask",
                "Citable",
                "Models",
            ),
            "provider": (
                "Provider",
                "ProviderReply",
                "ScriptedProvider",
            ),
            "request": (
                "FinishReason",
                "ModelPart",
                "ModelReply",
                "ModelRequest",
                "Passage",
                "Quote",
                "Tier",
                "Usage",
                "Work",
            ),
            "router": (
                "RoutedModel",
                "Router",
            ),
            "service": (
                "RouterService",
                "router_service",
            ),
            "settings": (
                "ModelSettings",
                "PriceSettings",
                "ProviderName",
                "RouterSettings",
                "from_environment",
            ),
            "wire_attempts": ("WireWatch",),
            "usage": (
                "Call",
                "CallId",
                "CallRecord",
                "Totals",
                "UsageReport",
                "UsageTotals",
            ),
        },
    )


def __dir__() -> list[str]:
    return list(__all__)
