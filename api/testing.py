"""Tests of one's own agents: run an app on a virtual clock, harm it, and look at what became of it.

    from regrow.testing import ScriptedModel, TestApp

    async def test_the_analyst_grows_back(test_app):
        async with test_app(app, models=ScriptedModel(["42"])) as t:
            await t.kill("analyst")
            await t.settled()
            assert t.restarts("analyst") == 1

The guide is docs/guides/testing-agents.md.
"""

from regrow.cluster.errors import (
    CrashesLeft,
    LeftRunning,
    NoSuchAgent,
    NotSettled,
    PlannedCrash,
    RehearsalFailed,
    ScriptLeft,
)
from regrow.cluster.testing import TestApp
from regrow.cluster.testing_script import ScriptedModel
from regrow.router.provider import ProviderReply
from regrow.runtime.virtual_time import Stuck, run_virtual

__all__ = [
    "CrashesLeft",
    "LeftRunning",
    "NoSuchAgent",
    "NotSettled",
    "PlannedCrash",
    "ProviderReply",
    "RehearsalFailed",
    "ScriptLeft",
    "ScriptedModel",
    "Stuck",
    "TestApp",
    "run_virtual",
]
