"""ScriptedModel: a model that says what a test has written down, in place of those of the config."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from regrow.cluster.errors import ScriptLeft
from regrow.router.provider import Answer, ScriptedProvider
from regrow.router.request import ModelRequest

ScriptItem = Answer | Callable[[ModelRequest], Answer]
"""One line of a script: a text, a whole ProviderReply, a ProviderFailed to raise, or a function that gives one."""


class ScriptedModel(ScriptedProvider):
    """Answers for all models of an app from a list, one item for each request, in the order in which they come.

    An item is a text, a ProviderReply, a ProviderFailed such as RateLimited, or a function of the ModelRequest that
    gives one of these and runs in the test's process. What was asked stands in `requests`. With `repeat_last` the
    last item answers all further requests; a request beyond the script is refused by name. Answers that nobody
    asked for fail the test at its end, unless `may_be_left`.
    """

    def __init__(self, answers: Iterable[ScriptItem], *, repeat_last: bool = False, may_be_left: bool = False) -> None:
        super().__init__(answers, repeat_last=repeat_last)
        self._may_be_left = may_be_left

    async def aclose(self) -> None:
        """Keeps the script: it belongs to the test, and the next life of the router goes on in it."""

    @property
    def left(self) -> tuple[ScriptItem, ...]:
        """The items that nobody has asked for."""
        return tuple(self._answers[len(self.requests) :])

    def check_used_up(self) -> None:
        """Raises ScriptLeft where answers are left that the test did not say may be."""
        if self.left and not self._may_be_left:
            raise ScriptLeft(len(self.requests), self.left)
