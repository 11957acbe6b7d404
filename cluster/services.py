"""The app's services, memory and models, as children of a supervisor of their own; started on first use.

A service is an actor like any other: it is supervised, packed into one host, and reached by ref. Its
child spec names an object of this module, so that a host can import it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from regrow.router.settings import RouterSettings
from regrow.runtime import ActorId, Behavior, Message, Packed
from regrow.supervisors import ChildSpec, child

if TYPE_CHECKING:
    from regrow.cluster.config import Settings
    from regrow.cluster.redis_owner import RedisOwner
    from regrow.router.provider import Provider

MEMORY_NAME = "memory"
MODELS_NAME = "models"
RECALLED_CAPACITY = 10_000
"""The mailbox of a service: every agent of the app sends to it."""


class ServiceConfig(Message):
    """What a service needs to know; `redis_url` empty means that nothing outlives the process."""

    app: str
    redis_url: str = ""
    redis_cluster: bool = False
    models: RouterSettings = RouterSettings()


async def service_config(app: str, redis: RedisOwner, settings: Settings) -> ServiceConfig:
    """What the services of an app are told. Raises RedisUnavailable, ConfigError."""
    return ServiceConfig(
        app=app, redis_url=await redis.url(), redis_cluster=settings.redis.cluster, models=settings.models
    )


@dataclass(frozen=True)
class Service:
    """A service that a host can make from its name."""

    makes_behavior: ClassVar[bool] = True
    name: str
    make: Callable[[ServiceConfig], Behavior]

    def as_service(self, config: object) -> Behavior:
        """The behavior of one life of the service."""
        assert isinstance(config, ServiceConfig)
        return self.make(config)

    @property
    def code_name(self) -> str:
        """How a host finds it; see code.name_of."""
        return f"{__name__}:{self.name.upper()}"


def services_root(app: str) -> ActorId:
    """The id of the supervisor of an app's services."""
    return ActorId(f"{app}:services")


def service_id(app: str, name: str) -> ActorId:
    """The id of one service of an app."""
    return ActorId(f"{app}:services/{name}")


def service_spec(name: str, config: ServiceConfig) -> ChildSpec:
    """The child spec of a service."""
    return child(
        _SERVICES[name], id=name, config=config, placement=Packed("services"), mailbox=RECALLED_CAPACITY, shutdown_s=5.0
    )


def known_service(app: str, actor: ActorId) -> str | None:
    """The name of the service that an id means, None for other ids."""
    head, _, name = actor.rpartition("/")
    return name if head == services_root(app) and name in _SERVICES else None


def _memory(config: ServiceConfig) -> Behavior:
    # Here, since only the host of the memory needs FAISS and numpy.
    from regrow.memory import HashingEmbedder, MemoryService, MemoryStore, Scope, Shard, Store
    from regrow.memory.faiss_index import FaissIndex
    from regrow.memory.redis_store import RedisStore

    store: Store = MemoryStore()
    if config.redis_url:
        store = RedisStore.from_url(config.redis_url, app=config.app, cluster=config.redis_cluster)
    return MemoryService(Shard(store, HashingEmbedder(), make_index=FaissIndex, scope=Scope.of(config.app)))


def models_service(config: ServiceConfig, provider: Provider | None = None) -> Behavior:
    """The router of an app; `provider` stands in for those that the config names, for tests."""
    from regrow.router.service import RouterService

    ledger = None
    if config.redis_url:
        from regrow.router.redis_ledger import RedisLedger  # here, since its redis takes 0.2 s to load

        ledger = RedisLedger.from_url(
            config.redis_url,
            app=config.app,
            cluster=config.redis_cluster,
            budget_usd=config.models.budget_usd,
        )
    return RouterService(config.models, ledger=ledger, provider=provider)


MEMORY = Service(MEMORY_NAME, _memory)
MODELS = Service(MODELS_NAME, models_service)
_SERVICES = {MEMORY_NAME: MEMORY, MODELS_NAME: MODELS}
