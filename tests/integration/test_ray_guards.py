"""Guards over processes that die: what a run has come to is kept where no SIGKILL resets it (decision 0039)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import Running
from regrow.cluster.app import EngineName
from regrow.runtime.guard_errors import RepeatedCall, RunUsedUp
from tests.integration.apps import guarded
from tests.integration.apps.guarded import MAX_CALLS, LookAlone, LookOn
from tests.integration.conftest import Start, nothing_left

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(guarded.app) as app:
            yield app


def looks(file: Path) -> list[tuple[int, int]]:
    """What was looked at, and by which process."""
    return [(int(at), int(pid)) for at, pid in map(str.split, file.read_text(encoding="utf-8").splitlines())]


async def test_a_call_that_repeats_is_found_though_each_was_made_by_another_process(
    running: Running, tmp_path: Path
) -> None:
    file = tmp_path / "looks"

    with pytest.raises(RepeatedCall) as refused:
        await running.ref("boss").ask(LookOn(file=str(file), new=False), timeout_s=PATIENCE_S)

    assert refused.value.evidence["tool"] == "look"
    assert [at for at, _ in looks(file)] == [0, 0, 0]
    assert len({pid for _, pid in looks(file)}) == 3


async def test_a_kill_of_a_durable_agent_in_its_turn_does_not_reset_the_calls_of_its_run(
    running: Running, tmp_path: Path
) -> None:
    file = tmp_path / "looks"

    with pytest.raises(RunUsedUp, match=f"max_calls={MAX_CALLS} is its cap"):
        await running.ref("clerk").ask(LookAlone(file=str(file)), timeout_s=PATIENCE_S)

    assert [at for at, _ in looks(file)] == list(range(MAX_CALLS))
    assert len({pid for _, pid in looks(file)}) == 2
