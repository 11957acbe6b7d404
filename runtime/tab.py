"""A tab: what all that a turn causes may spend on models, and under which name that is counted.

It stands in the capability, as the word `$ACCOUNT USD TOKENS`, with `-` for no cap; so it travels with all that is
sent, however far, and nobody on the way loses it. Who counts is the router. The tabs of a caller and of its callee are
two words, and what is spent is put on both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from regrow.runtime.capability import EVERY_ACTOR, EVERY_TOOL, TAB_MARK

_NO_CAP = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """`account` names it, without spaces; None is no cap."""

    account: str
    max_cost_usd: float | None = None
    max_tokens: int | None = None

    @property
    def word(self) -> str:
        """As it stands in a capability."""
        usd = _NO_CAP if self.max_cost_usd is None else repr(float(self.max_cost_usd))
        tokens = _NO_CAP if self.max_tokens is None else str(self.max_tokens)
        return f"{TAB_MARK}{self.account} {usd} {tokens}"


open_tabs: ContextVar[tuple[Tab, ...]] = ContextVar("regrow_open_tabs", default=())
"""Those of the code which runs here, beside those in the capability of its message."""


@contextmanager
def on_tab(tab: Tab) -> Iterator[None]:
    """As long as this lasts, what is spent by the code in it, and by all that it asks and tells, is put on this tab."""
    token = open_tabs.set((*open_tabs.get(), tab))
    try:
        yield
    finally:
        open_tabs.reset(token)


def with_tab(capability: tuple[str, ...] | None, tab: Tab) -> tuple[str, ...]:
    """The same capability, on this tab as well."""
    words = (EVERY_ACTOR, EVERY_TOOL) if capability is None else capability
    return words if tab.word in words else (*words, tab.word)


def tabs_of(capability: tuple[str, ...] | None) -> tuple[Tab, ...]:
    """The tabs in a capability. A word that can not be read lets nothing be spent."""
    return tuple(_read(word) for word in capability or () if word.startswith(TAB_MARK))


def _read(word: str) -> Tab:
    account, _, caps = word.removeprefix(TAB_MARK).partition(" ")
    usd, _, tokens = caps.partition(" ")
    try:
        return Tab(
            account=account,
            max_cost_usd=None if usd == _NO_CAP else float(usd),
            max_tokens=None if tokens == _NO_CAP else int(tokens),
        )
    except ValueError:
        return Tab(account=account, max_cost_usd=0.0, max_tokens=0)
