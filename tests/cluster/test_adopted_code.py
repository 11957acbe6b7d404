"""By which name a host finds adopted code: module:attribute, or an error that says how to give it one."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import pytest

from regrow import Prompt, adopt
from regrow.cluster.code import agent_class, found, name_of
from regrow.runtime import CodeNotImportable


class Framework:
    async def run(self, prompt: str) -> str:
        return prompt


async def research(question: str) -> str:
    return question


async def beat() -> None:
    """Work."""


object_of_theirs = adopt(Framework().run)
shouted = adopt(lambda text: f"{text}!")
bound = adopt(partial(Framework().run))
HERE = __name__


@pytest.mark.parametrize("name", ["object_of_theirs", "shouted", "bound"])
def test_what_is_adopted_under_a_name_is_found_by_it(name: str) -> None:
    adopted = getattr(sys.modules[HERE], name)

    assert name_of(adopted) == f"{HERE}:{name}"
    assert found(name_of(adopted)) is adopted


@pytest.mark.parametrize("function", [research, beat])
def test_a_function_that_is_adopted_where_the_child_is_made_is_found_by_its_own_name(function: Any) -> None:
    adopted = adopt(function)

    assert name_of(adopted) == f"{HERE}:{function.__name__}"
    assert agent_class(found(name_of(adopted))) is adopted.agent_class


def test_a_local_function_an_unnamed_lambda_or_method_is_refused_with_the_mend() -> None:
    async def local(question: str) -> str:
        return question

    for adopted, variable in (
        (adopt(local), "local"),
        (adopt(lambda text: f"{text}!"), "it"),
        (adopt(Framework().run), "run"),
    ):
        with pytest.raises(CodeNotImportable) as refused:
            name_of(adopted)

        assert str(refused.value).endswith(
            f"write at the top of {HERE}: {variable} = adopt(…), and make the child of that"
        )


def test_a_plain_function_that_nobody_adopted_is_no_agent() -> None:
    assert agent_class(Framework.run) is None


def test_a_prompt_is_found_wherever_regrow_is() -> None:
    assert name_of(Prompt) == "regrow.actors.adopted:Prompt"
