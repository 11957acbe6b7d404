"""Takes what looks like a secret out of text that is to be kept: best effort, by patterns. Pure.

A pattern knows a form and not a meaning: a password in a sentence has none, and stays. Whoever may not keep what
people write must not switch the content of traces on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

REDACTED = "[redacted]"
MARGIN_CHARS = 4_000
"""Read behind what is kept, so that a secret on the edge is known for one; what is longer could hold up all work."""

_LAST_WORD = re.compile(r"(?<!\S)\S{1,200}\Z")
"""Of a text that was cut off; a longer one is kept, since it may be all that is said."""

_NAME = r"(?:(?:api|access|private|secret)[_-]?keys?|secrets?|passwords?|passwd|passphrases?|token)"
"""Says secret; no `tokens`, of which there are mostly so many."""
_IS = r"\\*+[\"']?\s*+[:=]\s*+"
"""Between a name and its value, also in JSON within JSON."""
_VALUES = (
    r"\\++\"(?:[^\"\\\n]|\\++(?![\"\\]))++",  # in quotes that are escaped
    r"\"(?:[^\"\\\n]|\\.)++",  # in quotes, of one line and of any number of words
    r"'(?:[^'\\\n]|\\.)++",
    r"\[[^\]]*+\]?+",  # several
    r"\{[^}]*+\}?+",
    r"\\*+[\"']?[^\s\"',;&]{4,}+",
)

# Each takes a time that grows with the text and no faster. A word of any length is read from where it begins and but
# once, hence what looks back, and the possessive `++`: `-eyJ-eyJ-eyJ…` read anew from each `eyJ` took seconds.
PATTERNS = (
    r"-----BEGIN [A-Z ]*+(?<=PRIVATE KEY)-----(?>[\s\S]*?(?:-----END [A-Z ]*+(?<=PRIVATE KEY)-----|\Z))",
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}+",  # of OpenAI, Anthropic, Stripe
    r"\bgh[pousr]_[A-Za-z0-9]{20,}+|\bgithub_pat_[A-Za-z0-9_]{20,}+",
    r"\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}+",  # of Slack
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # of AWS
    r"\bAIza[A-Za-z0-9_-]{30,}+",  # of Google
    r"\bya29\.[A-Za-z0-9._-]{16,}+",
    r"\b(?:hf|npm)_[A-Za-z0-9]{20,}+",
    r"\bglpat-[A-Za-z0-9_-]{16,}+",  # of GitLab
    r"\bSG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+",  # of SendGrid
    # A JSON web token, and what stands before it in the same word.
    r"(?<![A-Za-z0-9_-])(?>[A-Za-z0-9_-]*?eyJ)[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+",
    r"(?i)\b(?:bearer|basic)\s++[A-Za-z0-9._~+/=-]{12,}+",
    # User and password of a URL, up to its last `@`: there may be one in the password.
    r"(?<=://)[^\s/@:]*+:[^\s/@]*+(?:@[^\s/@]*+(?=@))*+(?=@)",
    # A name that says secret, and its value: `api_key = …`, `"password": "…"`, `token=…`; also in JSON within JSON.
    rf"(?i){_NAME}{_IS}(?:{'|'.join(_VALUES)})",
    # Headers: the scheme and what follows it, and all cookies.
    rf"(?i)\b(?:proxy-)?authorization{_IS}\\*+[\"']?(?:[\w-]++[ \t]++)?+[^\s\"',;&]++",
    rf"(?i)\b(?:set-)?cookie{_IS}\\*+[\"']?(?:[^\s\"',;=]{{1,64}}+=[^\s\"';]*+;?+ ?+)++",
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",  # an e-mail address
    r"\b(?:\d[ -]?){13,19}\b",  # the number of a payment card, or one as long
)
"""What is taken out in any case."""


class Redaction:
    """The patterns of one app: PATTERNS, and those of its settings. Raises re.error for one that can not be read."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._patterns = [re.compile(pattern) for pattern in (*PATTERNS, *more)]

    def __call__(self, text: str) -> str:
        """The text with REDACTED in each place that a pattern fits."""
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        return text


def cut_without(redact: Callable[[str], str], text: str, limit_chars: int) -> str:
    """A text, that was cut at so many characters if it has as many, with what looks like a secret taken out.

    The word at the cut is left out, since it may be half of a secret, which fits no pattern.
    """
    if len(text) != limit_chars:
        return redact(text)
    return f"{redact(_LAST_WORD.sub('', text))}…"


def beginning_without(redact: Callable[[str], str], text: str, limit_chars: int) -> str:
    """The beginning of a text, with what looks like a secret taken out."""
    if len(text) <= limit_chars + MARGIN_CHARS:
        return redact(text)[:limit_chars]
    read = redact(text[: limit_chars + MARGIN_CHARS])
    return read[: max(0, len(read) - MARGIN_CHARS)][:limit_chars]  # its end may be half of a secret, which fits nothing
