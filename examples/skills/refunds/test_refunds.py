"""The tests of the skill: `regrow skills test refunds`, or `pytest skills/refunds`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from regrow import Step

if TYPE_CHECKING:
    from regrow.actors import Skill


def test_a_payment_is_found_by_its_order(skill: Skill) -> None:
    find_payment = skill.tools["find_payment"].function

    assert asyncio.run(find_payment("A-1")) == 4_500


def test_no_more_than_was_paid_is_paid_back(skill: Skill) -> None:
    pay_back = skill.tools["pay_back"].function

    with pytest.raises(ValueError, match="only 4500 cents were paid"):
        asyncio.run(pay_back("A-1", 5_000, Step("key", 1)))


def test_the_instructions_name_the_tools_that_the_skill_has(skill: Skill) -> None:
    assert all(name in skill.instructions for name in skill.tools)
