"""The engines by name, and the one way in which a run of an app begins on any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.cluster import tracing

if TYPE_CHECKING:
    from regrow.cluster.app import App, EngineName, Running
    from regrow.cluster.config import Settings
    from regrow.cluster.engine import Engine


def engine_for(name: EngineName, app: App, settings: Settings) -> Engine:
    """The engine of that name for an app, not started yet."""
    if name == "inline":
        from regrow.cluster.inline import InlineEngine

        return InlineEngine(app, settings)
    from regrow.cluster.ray_engine import RayEngine

    return RayEngine(app, settings)


async def begun(running: Running, settings: Settings) -> Running:
    """Starts what was made for a run of an app. Whatever it raises, nothing is left running."""
    name, place = running.app.name, settings.metrics.place
    tracing.configure(name, settings.tracing)
    try:
        if place is not None:
            from regrow.cluster.metrics_endpoint import MetricsEndpoint  # here, since few runs serve anything

            running.endpoint = MetricsEndpoint(name, running.engine.metrics)
            await running.endpoint.open(*place)  # first: a port that is taken is told before Ray takes its seconds
        await running.engine.start()
    except BaseException:
        await running.stop()
        raise
    if running.endpoint is not None:
        running.endpoint.attach()
    return running
