"""The name of an app in a Ray: one guardian holds it, and gives it up when its owner has died.

Whoever finds the name taken looks whether the other owner still renews its lease. If it does, the app
runs already; if it does not, that app is about to stop by itself, and its name is waited for.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
import structlog
from ray.exceptions import RayError

from regrow.cluster.errors import AppAlreadyRunning
from regrow.cluster.orders import AppOrder
from regrow.cluster.owner_lease import RENEWALS
from regrow.cluster.ray_guardian import remote_guardian
from regrow.cluster.ray_nodes import bound_to, own_node
from regrow.cluster.ray_transport import NAMESPACE, actor_name
from regrow.runtime.packing import pack

log = structlog.get_logger("regrow.app")

SILENT = 3 / RENEWALS
"""The part of its lease after which an owner counts as gone for whoever waits for its name."""
LOOK_S = 0.2
"""Between two looks at the other guardian."""
FREE_S = 120.0
"""How long an app whose owner has died may take to end its lease and to stop."""


async def claimed(order: AppOrder) -> Any:
    """The guardian of a new app. Raises AppAlreadyRunning when another living owner has an app of that name."""
    deadline = asyncio.get_running_loop().time() + FREE_S
    name = actor_name(order.app)
    # Beside the driver: the app's data folder and its Redis are on that machine, and without its driver the app ends.
    guardian = remote_guardian().options(
        name=name, namespace=NAMESPACE, lifetime="detached", scheduling_strategy=bound_to(own_node())
    )
    waits = False
    while True:
        try:
            return guardian.remote(pack(order))
        except ValueError as taken:  # Ray's answer for a name that is taken
            if await _owner_lives(name) or asyncio.get_running_loop().time() > deadline:
                raise AppAlreadyRunning(order.app, 0) from taken
        if not waits:
            log.warning("an app of this name ends, since its driver has died; waiting for that", app=order.app)
        waits = True
        await asyncio.sleep(LOOK_S)


async def _owner_lives(name: str) -> bool:
    """Whether the owner renews its lease; False as soon as that is overdue, or the app is gone."""
    last = 0.0
    while (silence := await _silence(name)) is not None and silence < SILENT:
        if silence < last:
            return True
        last = silence
        await asyncio.sleep(LOOK_S)
    return False


async def _silence(name: str) -> float | None:
    """How much of its lease an owner has been silent for; None when there is no such app any more."""
    try:
        guardian: Any = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
        return float(await guardian.silence.remote())
    except ValueError:
        return None
    except RayError:
        return 1.0  # it is dying, or starting again without an owner
