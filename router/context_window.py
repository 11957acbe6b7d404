"""Which messages of a long conversation are left out, so that it fits what a model can read. Pure.

What goes are whole exchanges, the oldest first: calls of tools and their results never apart, nor an answer and what
was wrong with it. Rules, the first question, the last one, and the newest exchange stay.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from regrow.router.conversation import LIMIT_MESSAGES, Role, Said, ToolResult
from regrow.router.provider import SIGNS_PER_TOKEN
from regrow.router.request import Usage

ROOM_AFTER: Final = 0.75
"""Down to this share of the limit is left out at once, so that the next calls begin with the same words: providers
keep those, and charge less for them."""

MOST_TOKENS_PER_BYTE: Final = 1.0
"""No vocabulary in use has more tokens than bytes."""
LEAST_TOKENS_PER_BYTE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextWindow:
    """How much may be read: `limit_tokens` of all, of which `fixed_bytes` are taken by what is no message."""

    limit_tokens: int
    fixed_bytes: int
    tokens_per_byte: float = 1 / SIGNS_PER_TOKEN

    def tokens(self, size_bytes: int) -> int:
        """How many tokens that many bytes come to."""
        return round(size_bytes * self.tokens_per_byte + 0.5)


def counted_rate(size_bytes: int, usage: Usage, before: float) -> float:
    """How many tokens a byte came to in a call of that size, by its provider's count; `before` where it gave none."""
    if usage.estimated or not size_bytes or not usage.input_tokens:
        return before
    return min(MOST_TOKENS_PER_BYTE, max(LEAST_TOKENS_PER_BYTE, usage.input_tokens / size_bytes))


def left_out(
    messages: Sequence[Said | ToolResult],
    window: ContextWindow,
    before: Collection[int] = (),
    *,
    has_prompt: bool = False,
    sizes: Sequence[int] | None = None,
) -> frozenset[int] | None:
    """The places of the messages to leave out, with those that were left out `before`.

    None where not even what has to stay fits. `has_prompt` says that the first question stands before all messages;
    `sizes` are those of the messages in bytes, for who knows them already.
    """
    out = set(before)
    known = sizes if sizes is not None else [each.size_bytes for each in messages]
    size = window.fixed_bytes + sum(known) - sum(known[at] for at in out)
    if window.tokens(size) <= window.limit_tokens and len(messages) - len(out) <= LIMIT_MESSAGES:
        return frozenset(out)
    units = _units(messages)
    stays = _staying(messages, units, has_prompt=has_prompt)
    for unit in units:
        if window.tokens(size) <= ROOM_AFTER * window.limit_tokens and len(messages) - len(out) <= LIMIT_MESSAGES:
            break
        if stays.isdisjoint(unit) and out.isdisjoint(unit):
            out.update(unit)
            size -= sum(known[at] for at in unit)
    fits = window.tokens(size) <= window.limit_tokens and len(messages) - len(out) <= LIMIT_MESSAGES
    return frozenset(out) if fits else None


def _units(messages: Sequence[Said | ToolResult]) -> list[range]:
    """The places of what belongs together: a message, with the results of its calls, or with what is wrong with it."""
    starts = [at for at, each in enumerate(messages) if at == 0 or (isinstance(each, Said) and not each.mends)]
    return [range(start, end) for start, end in pairwise([*starts, len(messages)])]


def _staying(messages: Sequence[Said | ToolResult], units: Sequence[range], *, has_prompt: bool) -> frozenset[int]:
    questions = [
        at for at, each in enumerate(messages) if isinstance(each, Said) and each.role is Role.USER and not each.mends
    ]
    rules = [at for at, each in enumerate(messages) if isinstance(each, Said) and each.role is Role.SYSTEM]
    first = questions[:1] if not has_prompt else []
    return frozenset([*rules, *first, *questions[-1:], *(units[-1] if units else ())])
