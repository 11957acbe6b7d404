"""Settings: safe defaults, and the environment says what it names."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from regrow.router.errors import InvalidSettings
from regrow.router.settings import ModelSettings, ProviderName, RouterSettings, from_environment


def names(environment: dict[str, str]) -> tuple[str, str]:
    settings = from_environment(environment)
    assert settings.small is not None
    assert settings.large is not None
    return settings.small.model, settings.large.model


def test_without_anything_both_tiers_are_extractive() -> None:
    assert RouterSettings() == from_environment({})
    assert RouterSettings().is_extractive


def test_a_key_alone_spends_no_money() -> None:
    assert from_environment({"OPENAI_API_KEY": "sk-1"}).is_extractive


def test_an_address_turns_the_openai_provider_on() -> None:
    settings = from_environment({"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"})

    assert [(model.provider, model.base_url) for _, model in settings.tiers] == [
        (ProviderName.OPENAI, "http://127.0.0.1:8000/v1")
    ] * 2
    assert not settings.is_extractive


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, ("gpt-4.1-mini", "gpt-4.1")),
        ({"REGROW_LARGE_MODEL": "qwen"}, ("qwen", "qwen")),
        ({"REGROW_SMALL_MODEL": "phi"}, ("phi", "phi")),
        ({"REGROW_SMALL_MODEL": "phi", "REGROW_LARGE_MODEL": "qwen"}, ("phi", "qwen")),
        ({"OPENAI_MODEL": "llama"}, ("llama", "llama")),
        ({"OPENAI_MODEL": "llama", "REGROW_LARGE_MODEL": "qwen"}, ("llama", "qwen")),
    ],
)
def test_models_are_named_by_the_environment(named: dict[str, str], expected: tuple[str, str]) -> None:
    assert names({"OPENAI_BASE_URL": "http://h/v1", **named}) == expected


def test_a_budget_is_read_from_the_environment() -> None:
    assert from_environment({"REGROW_BUDGET_USD": "2.5"}).budget_usd == 2.5


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"REGROW_BUDGET_USD": "much"}, "REGROW_BUDGET_USD"),
        ({"REGROW_BUDGET_USD": "-1"}, "REGROW_BUDGET_USD"),
        ({"OPENAI_BASE_URL": "localhost:8000"}, "OPENAI_BASE_URL"),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidSettings, match=name):
        from_environment(environment)


def test_a_provider_without_a_model_is_refused_with_an_example() -> None:
    with pytest.raises(ValidationError, match="add for example model"):
        ModelSettings(provider=ProviderName.OPENAI)


def test_settings_without_any_model_are_refused() -> None:
    with pytest.raises(ValidationError, match="neither a small nor a large model"):
        RouterSettings(small=None, large=None)


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match="bugdet"):
        RouterSettings.model_validate({"bugdet": 1})
