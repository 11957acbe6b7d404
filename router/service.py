"""The router as an actor: the behavior a cell drives, which makes providers and ledger from settings."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from regrow.router.catalog import card_of
from regrow.router.errors import InvalidSettings
from regrow.router.extractive_provider import ExtractiveProvider
from regrow.router.ledger import Ledger, MemoryLedger
from regrow.router.provider import Emit, Provider
from regrow.router.request import ModelPart, ModelReply, ModelRequest
from regrow.router.router import RoutedModel, Router
from regrow.router.run_budget import RunBudget
from regrow.router.settings import OPENAI_BASE_URL, ModelSettings, ProviderName, RouterSettings
from regrow.router.tabs import Tabs
from regrow.router.usage import CallId, SpentOnTab, UsageReport
from regrow.runtime.behavior import BehaviorTraits
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Refused
from regrow.runtime.guards import Guarding
from regrow.runtime.tab import tabs_of

MAX_CALLS_AT_ONCE = 2_048
"""Model calls of one app that are under way at once; those beyond wait in the mailbox. Each is a connection."""


class RouterService(BehaviorTraits):
    """Answers ModelRequest and UsageReport, many at once: a model takes seconds and the router must not wait.

    `ledger` stands in for the one in memory, `provider` for those of the settings (all tiers; for tests).
    A ledger that outlives the process is settled of abandoned calls when the service starts. `new_life`
    gives a name that no other life of a router has; call ids begin with it.
    """

    concurrent_turns = MAX_CALLS_AT_ONCE

    def __init__(
        self,
        settings: RouterSettings | None = None,
        *,
        ledger: Ledger | None = None,
        provider: Provider | None = None,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_life: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._settings = settings if settings is not None else RouterSettings()
        self._ledger = ledger
        self._provider = provider
        self._environment = environment
        self._now = now
        self._new_life = new_life
        self._router: Router | None = None
        self._runs = RunBudget()
        self._tabs = Tabs()

    async def started(self, ctx: object) -> None:
        """Make the providers and settle what an earlier life left open.

        Raises:
            InvalidSettings: a key is missing, or a budget cannot be kept.
        """
        settings = self._settings
        models = models_of(
            settings,
            environment=self._environment,
            at=self._now(),
            provider=self._provider,
            guarding=ctx.runtime.guarding if isinstance(ctx, CellContext) else None,
        )
        ledger = self._ledger if self._ledger is not None else MemoryLedger(budget_usd=settings.budget_usd)
        life = self._new_life()
        numbers = itertools.count(1)
        self._router = Router(
            models,
            ledger,
            now_s=asyncio.get_running_loop().time,
            new_call_id=lambda: CallId(f"{life}-{next(numbers)}"),
            metrics=ctx.runtime.metrics if isinstance(ctx, CellContext) else None,
        )
        await ledger.settle_abandoned()

    async def handle(self, message: object, ctx: CellContext | None) -> object:
        """Answer one message.

        Raises:
            Refused: the budget, a provider or the ledger says no, or the message is of another kind.
        """
        if self._router is None:
            raise Refused("the router has not started; ask again")
        match message:
            case ModelRequest():
                return await self._completed(self._router, message, ctx)
            case SpentOnTab():
                return self._tabs.totals(message.account)
            case UsageReport():
                return await self._router.usage(message.history)
            case _:
                raise Refused(
                    f"the router takes ModelRequest, UsageReport and SpentOnTab, not {type(message).__name__}"
                )

    async def _completed(self, router: Router, request: ModelRequest, ctx: CellContext | None) -> ModelReply:
        """The reply, put on the tabs of whoever has asked."""
        if ctx is None:
            return await router.complete(request)
        origin = ctx.origin()
        tabs = tabs_of(origin.capability)
        capped = self._tabs.capped(request, tabs)
        complete = partial(router.complete, capped, emit=_emit_to(ctx), parent=origin.trace)
        reply = await self._runs.within(ctx, capped, complete, most_nusd=router.expected_nusd(capped))
        self._tabs.add(reply, tabs)
        return reply

    async def stopping(self, reason: object, ctx: object = None) -> None:
        """Close providers and ledger."""
        if self._router is not None:
            router, self._router = self._router, None
            await self._runs.aclose()
            await router.aclose()

    def runs_concurrently(self, message: object) -> bool:
        """Always: requests share nothing but the ledger, whose calls are atomic."""
        return True


def _emit_to(ctx: CellContext | None) -> Emit | None:
    """How pieces reach whoever reads this turn's stream; None where the reply alone is asked for."""
    if ctx is None or not ctx.wants_parts:
        return None

    async def emit(text: str) -> None:
        await ctx.emit(ModelPart(text=text))

    return emit


def router_service(
    settings: RouterSettings, *, app: str, redis_url: str = "", environment: Mapping[str, str] = os.environ
) -> RouterService:
    """Give the router of an app; with a Redis its ledger outlives the process, and is one for the whole app."""
    if not redis_url:
        return RouterService(settings, environment=environment)
    # Imported late: redis takes 0.2 s to load, and the inline engine needs none.
    from regrow.router.redis_ledger import RedisLedger

    ledger = RedisLedger.from_url(redis_url, app=app, budget_usd=settings.budget_usd)
    return RouterService(settings, ledger=ledger, environment=environment)


def models_of(
    settings: RouterSettings,
    *,
    environment: Mapping[str, str],
    at: datetime,
    provider: Provider | None = None,
    guarding: Guarding | None = None,
) -> tuple[RoutedModel, ...]:
    """Give the models of `settings`, those at one address on one provider; prices are those at `at`.

    Raises:
        InvalidSettings: OpenAI itself is named and its key is not set.
    """
    made: dict[tuple[ProviderName, str, str], Provider] = {}
    models: list[RoutedModel] = []
    for tier, model in settings.tiers:
        place = (model.provider, model.base_url, model.api_key_env)
        if provider is None and place not in made:
            made[place] = _provider_of(model, timeout_s=settings.timeout_s, environment=environment, guarding=guarding)
        models.append(RoutedModel(card=card_of(model, tier, at=at), provider=provider or made[place]))
    return tuple(models)


def _provider_of(
    model: ModelSettings, *, timeout_s: float, environment: Mapping[str, str], guarding: Guarding | None
) -> Provider:
    if model.provider is ProviderName.EXTRACTIVE:
        return ExtractiveProvider()
    # Imported late: its SDK takes 0.5 s to load, and who runs extractive models needs none of it.
    from regrow.router.openai_provider import OpenAIProvider

    key = environment.get(model.api_key_env)
    if not key and model.base_url.rstrip("/") == OPENAI_BASE_URL:
        raise InvalidSettings(
            f"{model.model} runs at {OPENAI_BASE_URL}, which wants a key, and {model.api_key_env} is not set; "
            "set it, or name another base_url"
        )
    return OpenAIProvider(
        api_key=key,
        base_url=model.base_url,
        timeout_s=timeout_s,
        key_name=model.api_key_env,
        guards=guarding.guards if guarding is not None else None,
        runs=guarding.runs if guarding is not None else None,
    )
