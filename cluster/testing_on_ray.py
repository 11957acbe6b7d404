"""The app of a test on a local Ray: real processes, real kills, and a clock that takes its time."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from regrow.actors.adopted import is_own_work
from regrow.cluster import logs
from regrow.cluster.app import App, Running
from regrow.cluster.config import Settings
from regrow.cluster.engine import Engine
from regrow.cluster.errors import NotSettled
from regrow.cluster.services import MODELS_NAME, service_id
from regrow.cluster.testing_line import Prompter
from regrow.cluster.tree import TreeNode, Trees
from regrow.router.usage import UsageReport
from regrow.runtime import ActorId, Address, Misuse
from regrow.runtime.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from regrow.cluster.testing_playbook import Playbook
    from regrow.cluster.testing_script import ScriptedModel

T = TypeVar("T")

ADVANCE_LIMIT_S = 30.0
"""More than this no test on Ray may let pass at once: it really waits."""
SERVICE_START_S = 120.0
"""How long the start of a service in a host of its own may take on a busy machine."""
LOOK_S = 0.1
"""Between two looks at the tree; what two looks find the same has settled."""
SAME_LOOKS = 3
"""So often in a row nothing must be under way: a message between two hosts is in neither for a moment."""
IDLE_STATES = ("running", "finished", "stopped")


class RayStage:
    """The app on the Ray of this process, watched over a line to its hosts."""

    def __init__(self, app: App, settings: Settings, playbook: Playbook, script: ScriptedModel | None) -> None:
        self._app = app
        self._settings = settings
        self._playbook = playbook
        self._script = script
        self._prompter = Prompter(playbook, script)
        self._engine: Engine | None = None
        self._folder: Path | None = None
        self._until_s = 0.0

    async def start(self) -> Running:
        """See Stage. Raises Misuse on a loop whose time is virtual."""
        from regrow.cluster.ray_engine import RayEngine  # it loads Ray

        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            raise Misuse(
                "Ray runs in real time, and this test on a virtual clock; run it with pytest --regrow-engine=ray, and "
                'mark it with @pytest.mark.regrow(engine="ray") if it is for Ray alone'
            )
        logs.configure(self._settings.log, self._settings.tracing.redact)
        if self._settings.data_dir is None:
            self._folder = Path(tempfile.mkdtemp(prefix="regrow-test-"))
            self._settings = self._settings.model_copy(update={"data_dir": self._folder})
        engine = self._engine = RayEngine(self._app, self._settings, rehearsal=await self._prompter.listen())
        try:
            await engine.start()
            if self._script is not None:
                await self._start_models(engine)
        except BaseException:
            await self.stop()
            raise
        return Running(self._app, engine)

    async def _start_models(self, engine: Engine) -> None:
        """Has the router's host up before the test begins, or the first ask would pay for it with its deadline."""
        models = engine.runtime.ref_to(Address(service_id(self._app.name, MODELS_NAME)))
        await models.ask(UsageReport(), timeout_s=SERVICE_START_S)

    async def stop(self) -> None:
        """See Stage."""
        try:
            if self._engine is not None:
                await asyncio.shield(self._engine.stop())
            await self._prompter.aclose()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    # ---- time ------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> Awaitable[None]:
        """See Stage. Raises Misuse for more than ADVANCE_LIMIT_S."""
        if seconds > ADVANCE_LIMIT_S:
            raise Misuse(
                f"advance({seconds:g}) on Ray would really take that long, and {ADVANCE_LIMIT_S:g} s is the most; mark "
                'the test with @pytest.mark.regrow(engine="inline"), where it takes no time'
            )
        self._until_s = max(self._until_s, _now_s()) + seconds
        return _Advance(self)

    async def passed(self) -> None:
        """See Stage."""
        await asyncio.sleep(max(0.0, self._until_s - _now_s()))

    @property
    def is_behind(self) -> bool:
        """See Stage."""
        return self._until_s > _now_s()

    async def pause(self) -> None:
        """See Stage."""
        await asyncio.sleep(0)

    async def settle(self, within_s: float) -> None:
        """See Stage. A message on its way between two hosts is seen by nobody, so it looks SAME_LOOKS times."""
        until_s, same, handled = _now_s() + within_s, 0, -1
        while same < SAME_LOOKS:
            trees = await self._trees()
            busy = [str(turn) for turn in self._playbook.running if not is_own_work(turn.message)]
            busy += [f"{node.id} is {node.state}" for node in _nodes(trees) if node.state not in IDLE_STATES]
            busy += [f"{node.id} has {node.mailbox} messages in its mailbox" for node in _nodes(trees) if node.mailbox]
            is_same = not busy and trees.counts.messages == handled
            same, handled = same + 1 if is_same else 0, trees.counts.messages
            if _now_s() >= until_s and same < SAME_LOOKS:
                raise NotSettled(busy or ["messages are still being handled"], within_s)
            await asyncio.sleep(LOOK_S)

    # ---- looks -----------------------------------------------------------------------------------

    def restarts(self, actor: ActorId) -> int | None:
        """See Stage. Blocks until the guardian has answered."""
        found = _at_once(self._trees).find(actor)
        return found.restarts if found is not None else None

    def ids(self) -> set[str]:
        """See Stage. Blocks until the guardian has answered."""
        ids = {node.id for node in _nodes(_at_once(self._trees))}
        return {id for id in ids if id.startswith(f"{self._app.name}/")}

    async def _trees(self) -> Trees:
        assert self._engine is not None
        return await self._engine.trees()


class _Advance:
    """Time that passes, whether or not anybody awaits it."""

    def __init__(self, stage: RayStage) -> None:
        self._stage = stage

    def __await__(self) -> Generator[Any, None, None]:
        return self._stage.passed().__await__()


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _nodes(trees: Trees) -> list[TreeNode]:
    return [node for root in trees.roots for _, node in root.walk()]


def _at_once(look: Callable[[], Coroutine[object, object, T]]) -> T:
    """What a look gives, where the caller can not await it: it runs on a loop of its own in a thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(look())).result()
