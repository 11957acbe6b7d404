"""What an app refuses when it is made."""

from __future__ import annotations

import pytest

from regrow.cluster import App
from regrow.supervisors import DynamicSupervisor, SpecError, Supervisor, SupervisorSpec, child


class Alien:
    """A behavior that a cell could drive; only agents run in an app."""

    async def started(self, ctx: object) -> None: ...

    async def handle(self, message: object, ctx: object) -> None: ...

    async def stopping(self, reason: object, ctx: object) -> None: ...


@pytest.mark.parametrize(
    ("root", "where"),
    [
        (Supervisor(children=[child(Alien)]), "desk/alien"),
        (Supervisor(children=[child(DynamicSupervisor(child(Alien)), id="pool")]), "desk/pool/*"),
    ],
)
def test_an_app_refuses_a_behavior_that_is_no_agent(root: SupervisorSpec, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        App("desk", root)

    assert (caught.value.field, caught.value.value) == ("target", Alien)
    assert str(caught.value).startswith(f"{where}: target is {Alien!r}; allowed: a class derived from Agent")
