"""Chaos: durable agents on a real Ray and a real Redis, harmed on purpose; nothing acknowledged is lost or doubled.

Clients write down what they ask and what comes back, and the agents' effects are lines in a file outside Redis; a
checker that knows neither Ray nor Redis judges the two. A proxy before Redis hits exact windows: a script that is
applied and its reply cut, a process killed between an effect and its record. Everything is this script's own, in
folders that go at its end, except the two files that are named. At least one deck of about a hundred faults is played,
and further ones until the time is over.

    python benchmarks/chaos.py --history FILE --effects FILE --seconds N --seed S [--rest S] [--acked N --faults N]

With `--nodes 2` Ray has two nodes, of which one is killed and stopped with all its hosts; with `--cluster` Redis is a
cluster of three masters, each behind a proxy, of which one at a time is harmed, and whose slots move.

Exit code 0: nothing lost, doubled, out of order or left behind, in quarantine what was planted, no late commit done, at
most one command of a hundred without a known outcome; and a hundred faults, some of each kind and five in each window.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import monotonic

from chaos_clients import Clients
from chaos_cluster import ChaosCluster
from chaos_desk import FILE, FOLDER, app
from chaos_effects import EFFECTS
from chaos_faults import Faults
from chaos_leftovers import keys_left, processes_in, unrelayed
from chaos_log import FaultLog, Spoilt
from chaos_nodes import ChaosNodes
from chaos_plans import NEEDED_FAULTS, NEEDED_IN_WINDOW, PLANS, TAKES_AWAY, Plan, plans_for
from chaos_redis import ChaosRedis, ChaosStore
from history import Event, EventType, Recorder, read_effects
from history_checker import Verdict, judged
from measure import finish, percentile, quiet, rounded, versions

from regrow import Running
from regrow.cluster.config import LogSettings, RaySettings, Settings
from regrow.cluster.set_aside import listed
from regrow.runtime.journal_answers import TurnVerdict

SECONDS = 60.0
LONGEST_S = 86_400.0
LONGEST_REST_S = 3_600.0
LIMIT_NODES = 4
"""Each has some processes of its own, all on this machine."""
FILED_LIMIT_S = 60.0
"""For the last messages to reach the archive."""
GONE_LIMIT_S = 20.0
"""For killed processes to vanish."""
LOOK_S = 0.2
INDETERMINATE_SHARE = 0.01
"""Of as many of the acknowledged commands it may be unknown what became of them: their judge can say least of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the command line said."""

    history: Path
    effects: Path
    seconds: float
    seed: int
    rest_s: float
    acked: int
    faults: int
    nodes: int
    cluster: bool
    json: bool

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What a deck of faults has."""
        return plans_for(nodes=self.nodes, cluster=self.cluster)


def run_of(words: list[str] | None = None) -> Run:
    """Reads the command line; what is wrong there is told in a sentence, with exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, required=True, help="the file for what clients do and see; made anew")
    parser.add_argument("--effects", type=Path, required=True, help="the file for what is done outside; made anew")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long faults are done, after the first deck")
    parser.add_argument("--seed", type=int, default=None, help="what the faults are drawn from; told at the end")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds for which an agent serves between its faults")
    parser.add_argument("--acked", type=int, default=1, help="with fewer commands acknowledged the run fails")
    parser.add_argument("--faults", type=int, default=NEEDED_FAULTS, help="with fewer faults the run fails")
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes Ray has; all but the first are harmed")
    parser.add_argument("--cluster", action="store_true", help="a Redis Cluster of three masters and not one server")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    given = parser.parse_args(words)
    if not 0 <= given.seconds <= LONGEST_S:
        parser.error(f"--seconds {given.seconds:g}: give a number from 0 to {LONGEST_S:g}")
    if not 0 <= given.rest <= LONGEST_REST_S:
        parser.error(f"--rest {given.rest:g}: give a number from 0 to {LONGEST_REST_S:g}")
    for option, number in (("--acked", given.acked), ("--faults", given.faults)):
        if number < 0:
            parser.error(f"{option} {number}: give a number from 0 up")
    if not 1 <= given.nodes <= LIMIT_NODES:
        parser.error(f"--nodes {given.nodes}: give a number from 1 to {LIMIT_NODES}")
    if given.history.absolute() == given.effects.absolute():
        parser.error("--history and --effects are one file; name two")
    for option, file in (("--history", given.history), ("--effects", given.effects)):
        try:
            file.write_text("", encoding="utf-8")
        except OSError as error:
            parser.error(f"{option} {file}: it can not be written ({error.strerror}); name another file")
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    return Run(
        history=given.history.absolute(),
        effects=given.effects.absolute(),
        seconds=given.seconds,
        seed=seed,
        rest_s=given.rest,
        acked=given.acked,
        faults=given.faults,
        nodes=given.nodes,
        cluster=given.cluster,
        json=given.json,
    )


async def played(run: Run, folder: Path, recorder: Recorder, say: Callable[[str], None]) -> tuple[FaultLog, str]:
    """Runs the app, its clients and the faults in a folder; gives the faults and the version of Redis."""
    begun_s = monotonic()
    redis: ChaosStore = ChaosCluster(folder) if run.cluster else ChaosRedis(folder)
    nodes = ChaosNodes(run.nodes) if run.nodes > 1 else None
    try:
        await redis.start()
        settings = Settings(
            data_dir=folder / "data",
            ray=RaySettings(address=nodes.start() if nodes is not None else None),
            redis=redis.settings,
            log=LogSettings(level="error"),
        )
        async with app.start(engine="ray", settings=settings) as running:
            end_in_order_on_sigterm()
            say(f"the app runs after {monotonic() - begun_s:.1f} s")
            clients = Clients(running, recorder, seed=run.seed, begun_s=begun_s)
            faults = Faults(
                running,
                clients,
                redis,
                nodes=nodes,
                plans=run.plans,
                folder=folder,
                seed=run.seed,
                rest_s=run.rest_s,
            )
            clients.start()
            try:
                await while_it_runs(running, faults.play(monotonic() + run.seconds, say=say))
            finally:
                if not await clients.finish():
                    recorder.add(Event(type=EventType.ORPHAN, text="commands that are under way without end"))
                await faults.aclose()
            await filed(run, recorder, redis)
            await clients.write_states()  # behind what was filed, which counts in them
            set_aside = await write_set_aside(running, recorder)
        with redis.client() as client:
            left = keys_left(client, app.name, set_aside=set_aside)
    finally:
        redis.close()
        if nodes is not None:
            await asyncio.to_thread(nodes.close)
    left += await still_there(folder)
    for text in left:
        recorder.add(Event(type=EventType.ORPHAN, text=text))
    return faults.log, redis.servers[0].version


async def while_it_runs(running: Running, playing: Coroutine[None, None, None]) -> None:
    """Plays as long as the app runs; an app that ends by itself ends the run, which has failed."""
    played, ended = asyncio.create_task(playing), asyncio.create_task(running.wait_ended())
    try:
        await asyncio.wait((played, ended), return_when=asyncio.FIRST_COMPLETED)
        if not played.done():
            raise SystemExit(f"the app has ended: {ended.result()}")
        await played
    except ExceptionGroup as group:
        if spoilt := group.subgroup(Spoilt):
            raise SystemExit(str(spoilt.exceptions[0])) from group
        raise
    finally:
        played.cancel()
        ended.cancel()
        await asyncio.wait((played, ended))


def end_in_order_on_sigterm() -> None:
    """As Ctrl-C does. To be said behind the start of Ray, which has a handler of its own."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def filed(run: Run, recorder: Recorder, redis: ChaosStore) -> None:
    """Waits until the archive has what clerks have committed for it; what does not come is found lost."""

    def is_all_filed() -> bool:
        done = {effect.command for effect in read_effects(run.effects) if effect.effect == FILE}
        with redis.client() as client:
            return wanted <= done and not unrelayed(client, app.name)

    acked = {event.command for event in recorder.events if event.type is EventType.OK}
    wanted = {event.command for event in recorder.events if FILE in event.effects and event.command in acked}
    deadline = monotonic() + FILED_LIMIT_S
    while monotonic() < deadline:
        if await asyncio.to_thread(is_all_filed):
            return
        await asyncio.sleep(LOOK_S)


async def write_set_aside(running: Running, recorder: Recorder) -> set[str]:
    """Writes down which commands are in quarantine."""
    rows = (await listed(running, ""))["messages"]
    for row in rows:
        recorder.add(Event(type=EventType.QUARANTINED, agent=row["agent"], id=row["command"]))
    return {row["command"] for row in rows}


async def still_there(folder: Path) -> list[str]:
    """The processes of the run that do not end."""
    deadline = monotonic() + GONE_LIMIT_S
    while True:
        found = await asyncio.to_thread(processes_in, folder)
        if not found or monotonic() > deadline:
            return found
        await asyncio.sleep(LOOK_S)


def result_of(verdict: Verdict, log: FaultLog) -> dict[str, object]:
    """The figures of a run."""
    by_kind: defaultdict[str, list[float]] = defaultdict(list)
    for fault in log.faults:
        if fault.recover_ms is not None and fault.kind in TAKES_AWAY:
            by_kind[fault.kind].append(fault.recover_ms)
    took_ms = list(chain.from_iterable(by_kind.values()))
    return {
        **verdict.told(),
        "orphans": len(verdict.orphans),
        "faults": len(log.faults),
        "kinds": len(log.kinds()),
        "recover_ms_p50": rounded(percentile(took_ms, 50)) if took_ms else None,
        "recover_ms_p99": rounded(percentile(took_ms, 99)) if took_ms else None,
        "recover_ms_p50_by_kind": {kind: rounded(percentile(took, 50)) for kind, took in sorted(by_kind.items())},
        "by_kind": dict(sorted(log.kinds().items())),
        "windows": {window.value: count for window, count in log.windows().items()},
        "late_answers": dict(log.late_answers),
        "unserved": log.unserved,
    }


def troubles(
    verdict: Verdict, log: FaultLog, *, acked: int = 1, faults: int = NEEDED_FAULTS, plans: Sequence[Plan] = PLANS
) -> list[str]:
    """Why a run fails that was to have so many commands acknowledged and faults; nothing where all holds."""
    found = [f"{kind}: {len(cases)}, the first: {cases[0]}" for kind, cases in verdict.faults.items() if cases]
    found += [
        f"window {window}: {count} faults, and {NEEDED_IN_WINDOW} are needed to show anything"
        for window, count in log.windows().items()
        if count < NEEDED_IN_WINDOW
    ]
    if missing := sorted({plan.kind for plan in plans} - set(log.kinds())):
        found.append(f"faults that never happened: {', '.join(missing)}")
    if len(log.faults) < faults:
        found.append(f"{len(log.faults)} faults, and {faults} are needed")
    if verdict.acked < acked:
        found.append(f"{verdict.acked} commands were acknowledged, and {acked} are needed")
    if late := log.late_answers[TurnVerdict.DONE]:
        found.append(f"{late} commits of dead lives were done when they came late")
    if verdict.indeterminate > INDETERMINATE_SHARE * verdict.acked:
        found.append(
            f"of {verdict.indeterminate} commands nobody knows what became, and {verdict.acked} were acknowledged: "
            f"more than {INDETERMINATE_SHARE:.0%}"
        )
    if verdict.quarantined != verdict.poisoned:
        found.append(f"{verdict.quarantined} commands are in quarantine, and {verdict.poisoned} were planted")
    return found + [f"not served again in time: {each}" for each in log.unserved]


def main() -> None:
    """Plays, judges and tells."""
    run = run_of()
    quiet()
    folder = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))  # short, for the sockets of a Ray
    os.environ.update({"RAY_TMPDIR": str(folder), FOLDER: str(folder), EFFECTS: str(run.effects)})

    def say(text: str) -> None:
        if not run.json:
            print(text, flush=True)

    say(f"seed {run.seed}")
    try:
        with run.history.open("a", encoding="utf-8") as file:
            recorder = Recorder(file)
            log, redis_version = asyncio.run(played(run, folder, recorder, say))
    except Spoilt as spoilt:
        raise SystemExit(str(spoilt)) from spoilt
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise SystemExit("interrupted") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verdict = judged(recorder.events, read_effects(run.effects))
    result, failed = (
        result_of(verdict, log),
        troubles(verdict, log, acked=run.acked, faults=run.faults, plans=run.plans),
    )
    for text in failed:
        print(text, file=sys.stderr)
    say(f"{result['acked']:,} acknowledged, {result['faults']} faults of {result['kinds']} kinds")
    finish(
        result
        | {
            "versions": {**versions("regrow", "ray"), "redis": redis_version},
            "seed": run.seed,
            "nodes": run.nodes,
            "cluster": run.cluster,
        }
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
