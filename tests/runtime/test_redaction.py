"""What is taken out of text that is kept: forms of secrets, and what the settings name; the rest stays."""

from __future__ import annotations

import pytest

from regrow.runtime.redaction import REDACTED, Redaction


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop1234",
        "sk-ant-api03-abcdefghijklmnop",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl",
        "xoxb-1234567890-abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "hf_abcdefghijklmnopqrstuv",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123",
        "Bearer abcdefghijklmnop",
        "password=hunter22",
        '"api_key": "0123456789"',
        "ada.lovelace+desk@example.co.uk",
        "4111 1111 1111 1111",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_has_the_form_of_a_secret_is_taken_out(secret: str) -> None:
    told = Redaction()(f"here it is: {secret} – and more")

    assert secret not in told
    assert told.startswith("here it is: ")
    assert REDACTED in told
    assert told.endswith("– and more")


def test_user_and_password_of_a_url_are_taken_out_and_the_host_stays() -> None:
    assert Redaction()("redis://ada:hunter22@db:6379/0") == f"redis://{REDACTED}@db:6379/0"


@pytest.mark.parametrize(
    "text", ["the order 4711 of 2026-11-28", "skill-based routing", "what is a token bucket?", "a@b", "12:30:59"]
)
def test_plain_words_and_numbers_stay(text: str) -> None:
    assert Redaction()(text) == text


def test_patterns_of_the_settings_count_as_well() -> None:
    assert Redaction([r"\bEMP-\d+\b"])("EMP-17 asked") == f"{REDACTED} asked"
