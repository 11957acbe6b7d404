"""Which models stand behind the router, as a config file or the environment says."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from regrow.router.errors import InvalidSettings
from regrow.router.request import Tier
from regrow.runtime.message import Message

OPENAI_BASE_URL = "https://api.openai.com/v1"
"""Where the `openai` provider goes when no other address is given."""

DEFAULT_SMALL_MODEL = "gpt-4.1-mini"
DEFAULT_LARGE_MODEL = "gpt-4.1"
"""What the environment gets when it names an address and no models."""

DEFAULT_TIMEOUT_S = 60.0
"""Long enough for a slow answer of some thousand tokens, short enough to notice a provider that hangs."""


class ProviderName(Enum):
    """The providers this version has adapters for."""

    EXTRACTIVE = "extractive"
    """No network and no weights: ranks and quotes sentences of what it was given."""
    OPENAI = "openai"
    """The official SDK, against OpenAI or any server that speaks its chat completions."""


class PriceSettings(Message):
    """A price that overrides the known ones, in USD per million tokens; zeros say that a model is free."""

    input_usd_per_mtok: float = Field(ge=0)
    output_usd_per_mtok: float = Field(ge=0)
    cached_input_usd_per_mtok: float | None = Field(default=None, ge=0)


class ModelSettings(Message):
    """One model: who runs it, its name there, and what it costs if that is not commonly known.

    `api_key_env` is the name of the environment variable with the key; the key itself is in no config.
    """

    provider: ProviderName = ProviderName.EXTRACTIVE
    model: str = ""
    base_url: str = OPENAI_BASE_URL
    api_key_env: str = "OPENAI_API_KEY"
    price: PriceSettings | None = None
    context_limit_tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _named_and_reachable(self) -> Self:
        if self.provider is ProviderName.EXTRACTIVE:
            return self
        if not self.model:
            raise ValueError('provider "openai" needs a model; add for example model = "gpt-4.1-mini"')
        if urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ValueError(f"base_url {self.base_url!r} is no http or https address")
        return self


class RouterSettings(Message):
    """The small and the large model, the budget for all calls together, and how long to wait for one.

    A tier that is None has no model of its own; the other one does its work. `budget_usd` None is no cap.
    """

    small: ModelSettings | None = ModelSettings()
    large: ModelSettings | None = ModelSettings()
    budget_usd: float | None = Field(default=None, ge=0)
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, gt=0)

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.small is None and self.large is None:
            raise ValueError("neither a small nor a large model is set; leave both out for the extractive ones")
        return self

    @property
    def tiers(self) -> tuple[tuple[Tier, ModelSettings], ...]:
        """The tiers that have a model, with it."""
        both = ((Tier.SMALL, self.small), (Tier.LARGE, self.large))
        return tuple((tier, model) for tier, model in both if model is not None)

    @property
    def is_extractive(self) -> bool:
        """True when no model but the extractive one is set, so that nothing leaves the machine."""
        return all(model.provider is ProviderName.EXTRACTIVE for _, model in self.tiers)


def from_environment(environment: Mapping[str, str]) -> RouterSettings:
    """Give the settings that environment variables name; extractive models where they name no address.

    `OPENAI_BASE_URL` turns the `openai` provider on (a key alone does not: it often lies around, and
    nobody should pay for a first look). `REGROW_SMALL_MODEL` and `REGROW_LARGE_MODEL` name the models,
    either one both, `OPENAI_MODEL` too; the key is read from `OPENAI_API_KEY`. `REGROW_BUDGET_USD` caps
    the cost.

    Raises:
        InvalidSettings: a variable has a value that cannot be used.
    """
    budget = environment.get("REGROW_BUDGET_USD") or None
    base_url = environment.get("OPENAI_BASE_URL")
    if not base_url:
        return _checked({"budget_usd": budget})
    both = environment.get("OPENAI_MODEL")
    small = environment.get("REGROW_SMALL_MODEL") or both
    large = environment.get("REGROW_LARGE_MODEL") or both
    names = {
        "small": small or large or DEFAULT_SMALL_MODEL,
        "large": large or small or DEFAULT_LARGE_MODEL,
    }
    models = {
        tier: {"provider": ProviderName.OPENAI, "model": name, "base_url": base_url} for tier, name in names.items()
    }
    return _checked({**models, "budget_usd": budget})


def _checked(values: Mapping[str, object]) -> RouterSettings:
    try:
        return RouterSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = {"small": "OPENAI_BASE_URL", "large": "OPENAI_BASE_URL", "budget_usd": "REGROW_BUDGET_USD"}
        name = place.get(str(first["loc"][0]) if first["loc"] else "", "the environment")
        raise InvalidSettings(
            f"{name} can not be used: {first['msg'].removeprefix('Value error, ')}; correct or unset it"
        ) from error
