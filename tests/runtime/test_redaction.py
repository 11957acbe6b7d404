"""What is taken out of text that is kept: forms of secrets, and what the settings name; the rest stays."""

from __future__ import annotations

from re import _constants, _parser  # type: ignore[attr-defined]  # what a pattern is made of, which re itself does not tell
from time import process_time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regrow.runtime.redaction import PATTERNS, REDACTED, Redaction

PIECES = [
    *(
        "eyJ",
        "-eyJ",
        "eyJaaaaaaaa.",
        "a",
        "a.",
        "a-",
        "a@",
        "@",
        "a@a.",
        "://",
        "://a:",
        "bearer ",
        "basic\t",
        " ",
        "\n",
    ),
    *("token", "token=", "token : ", 'password\\": ', "\\", '"', "-----BEGIN ", "PRIVATE KEY", "-----END ", "-----"),
    *("sk-", "ghp_", "github_pat_", "xoxb-", "AKIA", "AIza", "hf_", "1", "1 ", "1-", "1111a", "%", "_"),
    *("passwords=", "[", "]", "{", "}", "'", "='", '="', "=\\'", "\\a", "authorization:", "cookie:", "a=", ";", "; "),
    *("SG.", "ya29.", "xapp-", "glpat-", "npm_", "api_key", "access-keys"),
]
"""What the patterns look for, and what stands in it: the texts on which a bad one would take long."""
SHORT_CHARS = 4_000
TIMES = 4
ATTEMPTS = 5


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
        '{\\"password\\": \\"hunter22\\"}',
        "id-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123",
        "ada.lovelace+desk@example.co.uk",
        "4111 1111 1111 1111",
        "glpat-abcdefghij0123456789",
        "npm_abcdefghijklmnopqrstuvwxyz0123456789",
        "xapp-1-A0123456789-abcdef",
        "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz",
        "ya29.a0AfH6SMBabcdefghijklmnop",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_has_the_form_of_a_secret_is_taken_out(secret: str) -> None:
    told = Redaction()(f"here it is: {secret} – and more")

    assert secret not in told
    assert told.startswith("here it is: ")
    assert REDACTED in told
    assert told.endswith("– and more")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG;", f"AWS_SECRET_{REDACTED};"),
        ("secret_key=hunter22 ", f"{REDACTED} "),
        ("access_key=hunter22&page=3", f"{REDACTED}&page=3"),
        ("privateKey: hunter22,", f"{REDACTED},"),
        ("passphrase: hunter22\n", f"{REDACTED}\n"),
        ("password='two words' and", f"{REDACTED}' and"),
        (r'password="a \"quoted\" word" and', f'{REDACTED}" and'),
        (r"{\"password\": \"two words\", \"page\": 3}", rf"{{\"{REDACTED}\", \"page\": 3}}"),
        ('{"passwords":["one", "two"], "page": 3}', f'{{"{REDACTED}, "page": 3}}'),
        ('{"password": {"value": "one two"}}', f'{{"{REDACTED}}}'),
        ('{"api_keys": [\n  "one"\n]}', f'{{"{REDACTED}}}'),
        ("Authorization: Token 0123456789abcdef\nAccept: */*", f"{REDACTED}\nAccept: */*"),
        ('-H "Proxy-Authorization: hunter22" https://x', f'-H "{REDACTED}" https://x'),
        ("Set-Cookie: session=hunter22; user=ada; – and", f"{REDACTED}– and"),
        ('{"cookie": "session=hunter22"}', f'{{"{REDACTED}"}}'),
    ],
)
def test_the_whole_value_is_taken_out_and_what_follows_it_stays(text: str, told: str) -> None:
    assert Redaction()(text) == told


def test_user_and_password_of_a_url_are_taken_out_and_the_host_stays() -> None:
    assert Redaction()("redis://ada:hunter22@db:6379/0") == f"redis://{REDACTED}@db:6379/0"
    assert Redaction()("postgres://u:p@ss@w@h/db?a@b") == f"postgres://{REDACTED}@h/db?a@b"


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 10000",
        '{"tokens": [1000, 2000]}',
        "a cookie: the best one = 3",
        "https://example.com/users/@ada:1",
        "the order 4711 of 2026-11-28",
        "skill-based routing",
        "what is a token bucket?",
        "a@b",
        "12:30:59",
    ],
)
def test_plain_words_and_numbers_stay(text: str) -> None:
    assert Redaction()(text) == text


def test_patterns_of_the_settings_count_as_well() -> None:
    assert Redaction([r"\bEMP-\d+\b"])("EMP-17 asked") == f"{REDACTED} asked"


def seconds(redaction: Redaction, text: str) -> float:
    """What one look takes of this thread's processor."""
    began_s = process_time()
    redaction(text)
    return process_time() - began_s


@pytest.mark.slow
@example(["-eyJ"])
@example(["a"])
@example(["1 "])
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3))
def test_four_times_the_text_takes_four_times_as_long_and_not_sixteen_times(pieces: list[str]) -> None:
    redaction = Redaction()
    text = "".join(pieces) * SHORT_CHARS
    ratios: list[float] = []

    for _ in range(ATTEMPTS):  # somebody else's work can make one of them slow, and no quadratic one fast
        short_s, long_s = (seconds(redaction, text[:chars]) for chars in (SHORT_CHARS, TIMES * SHORT_CHARS))
        ratios.append(long_s / max(short_s, 1e-4))
        if ratios[-1] < 2 * TIMES:
            return

    pytest.fail(f"{TIMES} times {pieces!r} took {', '.join(f'{ratio:.0f}' for ratio in ratios)} times as long")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_a_pattern_has_read_without_a_limit_it_does_not_read_again(pattern: str) -> None:
    assert gives_back(_parser.parse(pattern), inside=False) == []


@pytest.mark.parametrize("pattern", [r"a+b", r"(?:a++b)+c", r"(?:a{2,}|b)c"])
def test_a_pattern_that_reads_again_is_noticed(pattern: str) -> None:
    assert gives_back(_parser.parse(pattern), inside=False)


def gives_back(parts: Any, *, inside: bool) -> list[str]:
    """The repeats without a limit that give back what they have read, where no atomic group around them forbids it."""
    found: list[str] = []
    for kind, about in parts:
        if kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT) and not inside:
            if about[1] == _constants.MAXREPEAT:
                found.append(str(kind))
        within = inside or kind in (_constants.ATOMIC_GROUP, _constants.POSSESSIVE_REPEAT)
        for each in about if isinstance(about, tuple | list) else (about,):
            for inner in each if isinstance(each, list) else (each,):
                if isinstance(inner, _parser.SubPattern):
                    found += gives_back(inner, inside=within)
    return found
