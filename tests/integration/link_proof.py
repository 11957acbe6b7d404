"""The proof of the link on real Ray: 50 agents send to 50 others while a part of all calls between processes is lost.

    python link_proof.py --messages 100000 --lost 20

starts a Ray of its own in which Ray's fault injection loses requests and replies of actor calls (finitely many in
each process), and sends the messages twice: once while everybody reads, once while one receiver never does. Each
sender keeps its own record of what was accepted, each receiver of what came; they are compared here, outside of
what is tested. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import struct
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from regrow import Agent, App, Context, MailboxFull, Message, Packed, Request, Running, Supervisor, child, on
from regrow.cluster.config import Settings

AGENTS = 50
"""So many senders, and so many receivers."""

HOSTS = 2
"""Processes for the senders, and for the receivers: every sender's process has a link to every receiver's."""

BOUND = 100
"""The mailbox of the receiver that may be told to read nothing more, in messages; the others have DEFAULT_CAPACITY."""

STUCK = 0
"""The number of that receiver."""

WINDOW = 16
"""Messages of one sender that may be on their way at once."""

PATIENCE_S = 120.0
"""How long a tell to one that reads may take; one that takes longer is a failure of the link."""

STUCK_PATIENCE_S = 2.0
"""How long a tell to the one that does not read may take before its sender gives up, and is told that it did not go."""

LOOK_S = 0.2
"""Between two looks at the mailboxes."""

METHOD = "CoreWorkerService.grpc_client.PushTask"
"""Ray's name for the call that carries a call of an actor."""

_ITEM = struct.Struct("<HI")
"""Sender and number of one item, in a record."""


class Item(Message):
    sender: int
    number: int
    sent_s: float


class Sent(Message):
    """What a sender knows of its items: for each receiver the numbers that were accepted, as uint32."""

    accepted: tuple[bytes, ...]
    refused: int


class SendAll(Request[Sent]):
    """Has a sender send that many items, to all receivers in turn."""

    sender: int
    count: int


class Received(Message):
    """What came, in order, as _ITEM records, and how long each was under way, as float32 seconds."""

    items: bytes
    latencies_s: bytes


class Report(Request[Received]):
    """Has a receiver tell what came, and forget it."""


class Hold(Message):
    """From here on the receiver reads nothing more."""


class Sender(Agent):
    """Sends in order, a few at once, and keeps a record."""

    @on
    async def send_all(self, request: SendAll, ctx: Context) -> Sent:
        accepted: list[list[int]] = [[] for _ in range(AGENTS)]
        window = asyncio.Semaphore(WINDOW)
        refused = 0

        async def send(receiver: int, number: int) -> None:
            nonlocal refused
            stuck = receiver == STUCK
            item = Item(sender=request.sender, number=number, sent_s=time.monotonic())
            try:
                patience_s = STUCK_PATIENCE_S if stuck else PATIENCE_S
                await ctx.ref(receiver_id(receiver)).tell(item, send_timeout_s=patience_s)
            except MailboxFull:
                if not stuck:
                    raise
                refused += 1
            else:
                accepted[receiver].append(number)
            finally:
                if not stuck:
                    window.release()

        async with asyncio.TaskGroup() as group:
            for number in range(request.count):
                receiver = (request.sender + number) % AGENTS
                if receiver != STUCK:  # those that can not go must not use up what all others share
                    await window.acquire()
                group.create_task(send(receiver, number))
        return Sent(accepted=tuple(struct.pack(f"<{len(n)}I", *sorted(n)) for n in accepted), refused=refused)


class Receiver(Agent):
    """Keeps a record of what came."""

    def __init__(self) -> None:
        self.items = bytearray()
        self.latencies_s = bytearray()

    @on
    async def item(self, message: Item) -> None:
        self.items += _ITEM.pack(message.sender, message.number)
        self.latencies_s += struct.pack("<f", time.monotonic() - message.sent_s)

    @on
    async def report(self, request: Report) -> Received:
        received = Received(items=bytes(self.items), latencies_s=bytes(self.latencies_s))
        self.items.clear()
        self.latencies_s.clear()
        return received

    @on
    async def hold(self, message: Hold) -> None:
        await asyncio.Event().wait()


class Populate(Request[int]):
    """Has a hive spawn its share of the agents; gives how many."""

    share: int


class Deepest(Request[int]):
    """Asks for the depth of the deepest mailbox in a process."""


class Hive(Agent):
    """Spawns the agents of one process: starting a hundred one by one would take minutes while calls are lost."""

    kind: type[Agent]
    letter: str

    @on
    async def populate(self, request: Populate, ctx: Context) -> int:
        numbers = [n for n in range(AGENTS) if n % HOSTS == request.share and (self.letter, n) != ("r", STUCK)]
        for number in numbers:
            await ctx.spawn(self.kind, f"{self.letter}{number}")
        return len(numbers)

    @on
    async def deepest(self, request: Deepest, ctx: Context) -> int:
        return max(depth for _, depth in ctx.runtime.stats().values())


class Readers(Hive):
    """The receivers of one process."""

    kind = Receiver
    letter = "r"


class Writers(Hive):
    """The senders of one process."""

    kind = Sender
    letter = "s"


def receiver_id(number: int) -> str:
    """The id of a receiver."""
    return "proof/stuck" if number == STUCK else f"proof/readers{number % HOSTS}/r{number}"


def sender_id(number: int) -> str:
    """The id of a sender."""
    return f"proof/writers{number % HOSTS}/s{number}"


app = App(
    "proof",
    Supervisor(
        children=[
            *(child(Readers, id=f"readers{n}", placement=Packed("readers", hosts=HOSTS)) for n in range(HOSTS)),
            child(Receiver, id="stuck", placement=Packed("readers", hosts=HOSTS), mailbox=BOUND, shutdown_s=2.0),
            *(child(Writers, id=f"writers{n}", placement=Packed("writers", hosts=HOSTS)) for n in range(HOSTS)),
        ]
    ),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run showed: the first four must be 0, `most_unread` at most BOUND, `deepest` at most DEFAULT_CAPACITY."""

    lost: int
    doubled: int
    inverted: int
    strange: int
    most_unread: int
    deepest: int
    accepted: int
    refused: int
    took_s: float
    latency_s_p50: float
    latency_s_p99: float


async def run(running: Running, messages: int) -> Figures:
    """Sends so many messages in all, and compares what was accepted with what came."""
    began_s = time.monotonic()
    watching = asyncio.create_task(_watched(running))
    asks = [
        running.ref(sender_id(n)).ask(SendAll(sender=n, count=messages // AGENTS), timeout_s=3_600)
        for n in range(AGENTS)
    ]
    sent = await asyncio.gather(*asks)
    took_s = time.monotonic() - began_s
    watching.cancel()
    deepest, most_waiting = await watching
    unread = await _depth_of_stuck(running)

    count = Counter[str]()
    latencies_s: list[float] = []
    for receiver in range(AGENTS):
        accepted = [_numbers(one.accepted[receiver]) for one in sent]
        if receiver == STUCK and unread:
            # It read nothing, so all that was accepted must be there still, and nothing else.
            count["lost"] += max(0, sum(map(len, accepted)) - unread)
            count["strange"] += max(0, unread - sum(map(len, accepted)))
            continue
        received = await running.ref(receiver_id(receiver)).ask(Report(), timeout_s=600)
        latencies_s += struct.unpack(f"<{len(received.latencies_s) // 4}f", received.latencies_s)
        count.update(compared(accepted, received.items))
    latencies_s.sort()
    return Figures(
        lost=count["lost"],
        doubled=count["doubled"],
        inverted=count["inverted"],
        strange=count["strange"],
        most_unread=max(most_waiting, unread),
        deepest=deepest,
        accepted=sum(len(numbers) // 4 for one in sent for numbers in one.accepted),
        refused=sum(one.refused for one in sent),
        took_s=round(took_s, 3),
        latency_s_p50=round(latencies_s[len(latencies_s) // 2], 6),
        latency_s_p99=round(latencies_s[len(latencies_s) * 99 // 100], 6),
    )


def compared(accepted: list[list[int]], items: bytes) -> dict[str, int]:
    """What is wrong with the items of one receiver, given the numbers that each sender knows to be accepted."""
    came: dict[int, list[int]] = {}
    for sender, number in _ITEM.iter_unpack(items):
        came.setdefault(sender, []).append(number)
    wrong = Counter[str]()
    for sender, numbers in enumerate(accepted):
        got = came.get(sender, [])
        wrong["lost"] += len(set(numbers) - set(got))
        wrong["strange"] += len(set(got) - set(numbers))
        wrong["doubled"] += len(got) - len(set(got))
        wrong["inverted"] += sum(later < earlier for earlier, later in pairwise(got))
    return wrong


def _numbers(packed: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(packed) // 4}I", packed))


async def _depth_of_stuck(running: Running) -> int:
    return next(node.mailbox for _, node in (await running.tree())[0].walk() if node.id == receiver_id(STUCK))


async def _watched(running: Running) -> tuple[int, int]:
    """The deepest mailbox of all and of the one with the small bound, as often as can be seen until it is cancelled."""
    deepest = unread = 0
    try:
        while True:
            unread = max(unread, await _depth_of_stuck(running))
            for hive in range(HOSTS):
                deepest = max(deepest, await running.ref(f"proof/readers{hive}").ask(Deepest()))
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=LOOK_S)
    except asyncio.CancelledError:
        return deepest, unread


def inject(lost_percent: int, failures: int) -> None:
    """Has every process of the next Ray lose so much of its requests, and as much of the replies to the rest."""
    how = {"num_failures": failures, "req_failure_prob": lost_percent, "resp_failure_prob": lost_percent}
    os.environ["RAY_testing_rpc_failure"] = json.dumps({METHOD: how})  # noqa: SIM112 - Ray spells it so


def injected(folder: Path) -> int:
    """How many calls were lost in a Ray, by its own logs."""
    logs = folder.glob("regrow-ray-*/session_*/logs/*core-*")
    return sum(path.read_text(encoding="utf-8", errors="replace").count("Inject RPC re") for path in logs)


async def prove(messages: int, quiet: int) -> dict[str, object]:
    """Both runs, one after the other, on one app."""
    folder = Path(os.environ["RAY_TMPDIR"])
    began_s = time.monotonic()
    async with app.start(engine="ray", settings=Settings(data_dir=folder / "data")) as running:
        for hive in range(HOSTS):
            for kind in ("readers", "writers"):
                await running.ref(f"{kind}{hive}").ask(Populate(share=hive), timeout_s=600)
        started_s = time.monotonic()
        everybody = await run(running, quiet)
        await running.ref(receiver_id(STUCK)).tell(Hold())
        one_stuck = await run(running, messages)
        lost_calls = injected(folder)
        ran_s = time.monotonic()
    return {
        "quiet": asdict(everybody),
        "stuck": asdict(one_stuck),
        "lost_calls": lost_calls,
        "start_s": round(started_s - began_s, 1),
        "stop_s": round(time.monotonic() - ran_s, 1),
    }


def main() -> None:
    """Reads the command line, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--quiet", type=int, default=5_000, help="messages of the run in which everybody reads")
    parser.add_argument("--lost", type=int, default=20, help="percent of requests and of replies")
    parser.add_argument("--failures", type=int, default=1_000, help="at most so many in each process")
    options = parser.parse_args()
    if options.lost:
        inject(options.lost, options.failures)
    figures = asyncio.run(prove(options.messages, options.quiet))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
