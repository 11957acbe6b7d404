"""Names and groups on the inline engine, through the same calls as on Ray (SEMANTICS 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from regrow import App, Supervisor, child
from regrow.cluster.config import Settings
from tests.integration.apps.roster import Clerk, Enter, Take

app = App("inline", Supervisor(children=[child(Clerk, id="first"), child(Clerk, id="second")]))


@pytest.mark.slow
async def test_an_inline_app_looks_names_and_groups_up_from_outside(tmp_path: Path) -> None:
    async with app.start(engine="inline", settings=Settings(data_dir=tmp_path)) as running:
        assert await running.ref("first").ask(Take(name="the clerk")) == "inline/first"
        assert await running.ref("second").ask(Take(name="the clerk")) == "inline/first"
        await running.ref("second").ask(Enter(group="clerks", times=2))

        found = await running.whereis("the clerk")

        assert found is not None
        assert found.id == running.ref("first").id
        assert [ref.id for ref in await running.members("clerks")] == ["inline/second"] * 2
        assert await running.whereis("nobody") is None
