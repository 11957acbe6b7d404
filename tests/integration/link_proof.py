"""The proof of the link on real Ray: 50 agents send to 50 others while a part of all calls between processes is lost.

    python link_proof.py --messages 100000 --rounds 5 --lost 20

starts a Ray of its own in which Ray's fault injection loses requests and replies of actor calls (finitely many in
each process). So many messages are sent in rounds while one receiver reads nothing, and as many in rounds between
those while everybody reads: the same loss, the same hour, so that the two may be compared. Each sender keeps its own
record of what was accepted, each receiver of what came; they are compared here, outside of what is tested. The last
line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import struct
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from regrow import ActorRef, Agent, App, Context, MailboxFull, Message, Packed, Request, Running, Supervisor, child, on
from regrow.cluster.config import Settings
from regrow.runtime import ActorId

AGENTS = 50
"""So many senders, and so many receivers."""

HOSTS = 2
"""Processes for the senders, and for the receivers: every sender's process has a link to every receiver's."""

BOUND = 100
"""The mailbox of the receiver that is told to read nothing for a while, in messages; the others have 1,000."""

STUCK = 0
"""The number of that receiver."""

WINDOW = 16
"""Messages of one sender that may be on their way at once."""

PATIENCE_S = 120.0
"""How long a tell to one that reads may take; one that takes longer is a failure of the link."""

STUCK_PATIENCE_S = 2.0
"""How long a tell to the one that does not read may take before its sender gives up, and is told that it did not go."""

METHOD = "CoreWorkerService.grpc_client.PushTask"
"""Ray's name for the call that carries a call of an actor."""

ASK_S = 3_600.0
"""For what takes as long as it takes; a test that runs this program has a limit of its own."""

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
    """What came, in order, as _ITEM records, how long each was under way, as float32 seconds, and the most unread."""

    items: bytes
    latencies_s: bytes
    deepest: int


class Report(Request[Received]):
    """Has a receiver tell what came, and forget it."""


class AllSent(Message):
    """What the senders of one process know, in the order of their numbers."""

    senders: tuple[Sent, ...]


class AllSend(Request[AllSent]):
    """Has every sender of a process send that many items."""

    count: int


class AllReceived(Message):
    """What came to the receivers of one process, in the order of their numbers."""

    receivers: tuple[Received, ...]
    unread: int


class AllReport(Request[AllReceived]):
    """Has every receiver of a process tell what came; the one that reads nothing goes on first."""


class Hold(Message):
    """From here on the receiver reads nothing, until all are to report."""


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

    held: ClassVar[asyncio.Event | None] = None
    """What the receiver of this process that reads nothing waits for."""

    def __init__(self) -> None:
        self.items = bytearray()
        self.latencies_s = bytearray()
        self.deepest = 0

    @on
    async def item(self, message: Item, ctx: Context) -> None:
        self.items += _ITEM.pack(message.sender, message.number)
        self.latencies_s += struct.pack("<f", time.monotonic() - message.sent_s)
        # A mailbox becomes shallower by reading alone, so a look at each read misses no depth.
        self.deepest = max(self.deepest, len(ctx.runtime.cells[ctx.id].mailbox))

    @on
    async def report(self, request: Report) -> Received:
        received = Received(items=bytes(self.items), latencies_s=bytes(self.latencies_s), deepest=self.deepest)
        self.items.clear()
        self.latencies_s.clear()
        self.deepest = 0
        return received

    @on
    async def hold(self, message: Hold) -> None:
        Receiver.held = asyncio.Event()
        await Receiver.held.wait()


class Populate(Request[int]):
    """Has a hive spawn its share of the agents; gives how many."""

    share: int


class Hive(Agent):
    """Starts and asks the agents of one process, so that what is measured does not wait for a driver's lost calls."""

    kind: type[Agent]
    letter: str

    def __init__(self) -> None:
        self.numbers: tuple[int, ...] = ()

    @on
    async def populate(self, request: Populate, ctx: Context) -> int:
        self.numbers = tuple(range(request.share, AGENTS, HOSTS))
        for number in self.numbers:
            if (self.letter, number) != ("r", STUCK):
                await ctx.spawn(self.kind, f"{self.letter}{number}")
        return len(self.numbers)


class Readers(Hive):
    """The receivers of one process."""

    kind = Receiver
    letter = "r"

    @on
    async def report(self, request: AllReport, ctx: Context) -> AllReceived:
        held, Receiver.held = Receiver.held, None
        unread = 0
        if held is not None:
            unread = len(ctx.runtime.cells[ActorId(receiver_id(STUCK))].mailbox)
            held.set()
        asks = [ctx.ref(receiver_id(number)).ask(Report(), timeout_s=ASK_S) for number in self.numbers]
        return AllReceived(receivers=tuple(await asyncio.gather(*asks)), unread=unread)


class Writers(Hive):
    """The senders of one process."""

    kind = Sender
    letter = "s"

    @on
    async def send(self, request: AllSend, ctx: Context) -> AllSent:
        orders = [(ctx.ref(sender_id(n)), SendAll(sender=n, count=request.count)) for n in self.numbers]
        sent = await asyncio.gather(*(ref.ask(order, timeout_s=ASK_S) for ref, order in orders))
        return AllSent(senders=tuple(sent))


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
class Round:
    """What a round showed: the first four must be 0, `most_unread` at most BOUND, `deepest` at most 1,000."""

    lost: int
    doubled: int
    inverted: int
    strange: int
    most_unread: int
    deepest: int
    sent: int
    accepted: int
    refused: int
    lost_calls: int
    took_s: float
    latency_s_p50: float
    latency_s_p99: float


def hives(running: Running, kind: str) -> list[ActorRef]:
    """The hives of one kind, one for each process."""
    return [running.ref(f"proof/{kind}{number}") for number in range(HOSTS)]


async def play(running: Running, messages: int, *, stuck: bool, folder: Path) -> Round:
    """Sends so many messages in all, and compares what was accepted with what came."""
    if stuck:
        await running.ref(receiver_id(STUCK)).tell(Hold(), send_timeout_s=PATIENCE_S)
    lost_before = injected(folder)
    order = AllSend(count=messages // AGENTS)
    began_s = time.monotonic()
    writers = await asyncio.gather(*(hive.ask(order, timeout_s=ASK_S) for hive in hives(running, "writers")))
    took_s = time.monotonic() - began_s
    lost_calls = injected(folder) - lost_before
    readers = await asyncio.gather(*(hive.ask(AllReport(), timeout_s=ASK_S) for hive in hives(running, "readers")))
    sent = [writers[n % HOSTS].senders[n // HOSTS] for n in range(AGENTS)]
    received = [readers[n % HOSTS].receivers[n // HOSTS] for n in range(AGENTS)]

    count = Counter[str]()
    latencies_s: list[float] = []
    for receiver, came in enumerate(received):
        if receiver != STUCK:
            latencies_s += struct.unpack(f"<{len(came.latencies_s) // 4}f", came.latencies_s)
        count.update(compared([one.accepted[receiver] for one in sent], came.items))
    latencies_s.sort()
    return Round(
        lost=count["lost"],
        doubled=count["doubled"],
        inverted=count["inverted"],
        strange=count["strange"],
        most_unread=max(received[STUCK].deepest, *(one.unread for one in readers)),
        deepest=max(came.deepest for came in received),
        sent=messages // AGENTS * AGENTS,
        accepted=sum(len(numbers) // 4 for one in sent for numbers in one.accepted),
        refused=sum(one.refused for one in sent),
        lost_calls=lost_calls,
        took_s=round(took_s, 3),
        latency_s_p50=round(latencies_s[len(latencies_s) // 2], 6),
        latency_s_p99=round(latencies_s[len(latencies_s) * 99 // 100], 6),
    )


def compared(accepted: list[bytes], items: bytes) -> dict[str, int]:
    """What is wrong with the items of one receiver, given the numbers that each sender knows to be accepted."""
    came: dict[int, list[int]] = {}
    for sender, number in _ITEM.iter_unpack(items):
        came.setdefault(sender, []).append(number)
    wrong = Counter[str]()
    for sender, packed in enumerate(accepted):
        numbers = struct.unpack(f"<{len(packed) // 4}I", packed)
        got = came.get(sender, [])
        wrong["lost"] += len(set(numbers) - set(got))
        wrong["strange"] += len(set(got) - set(numbers))
        wrong["doubled"] += len(got) - len(set(got))
        wrong["inverted"] += sum(later < earlier for earlier, later in pairwise(got))
    return wrong


def inject(lost_percent: int, failures: int, noticed_ms: int | None) -> None:
    """Has every process of the next Ray lose so much of its requests, and as much of the replies to the rest.

    Ray says that a call was lost once it has waited for news of a death, and looks for what waits at intervals; both
    take a second, or as long as is said here.
    """
    if noticed_ms is not None:
        for name in ("timeout_ms_task_wait_for_death_info", "core_worker_internal_heartbeat_ms"):
            os.environ[f"RAY_{name}"] = str(noticed_ms)
    how = {"num_failures": failures, "req_failure_prob": lost_percent, "resp_failure_prob": lost_percent}
    os.environ["RAY_testing_rpc_failure"] = json.dumps({METHOD: how})  # noqa: SIM112 - Ray spells it so


def injected(folder: Path) -> int:
    """How many calls were lost in a Ray, by its own logs."""
    logs = folder.glob("regrow-ray-*/session_*/logs/*core-*")
    return sum(path.read_text(encoding="utf-8", errors="replace").count("Inject RPC re") for path in logs)


async def prove(messages: int, rounds: int) -> dict[str, object]:
    """All rounds, in turns, on one app."""
    folder = Path(os.environ["RAY_TMPDIR"])
    began_s = time.monotonic()
    quiet: list[Round] = []
    stuck: list[Round] = []
    async with app.start(engine="ray", settings=Settings(data_dir=folder / "data")) as running:
        shares = [(n, hive) for kind in ("readers", "writers") for n, hive in enumerate(hives(running, kind))]
        await asyncio.gather(*(hive.ask(Populate(share=n), timeout_s=ASK_S) for n, hive in shares))
        started_s = time.monotonic()
        await play(running, AGENTS * AGENTS, stuck=False, folder=folder)  # every sender finds every receiver
        for _ in range(rounds):
            for done, is_stuck in ((quiet, False), (stuck, True)):
                done.append(await play(running, messages // rounds, stuck=is_stuck, folder=folder))
                print("one stuck" if is_stuck else "quiet    ", asdict(done[-1]), flush=True)
        ran_s = time.monotonic()
    p99_quiet, p99_stuck = (statistics.median(one.latency_s_p99 for one in done) for done in (quiet, stuck))
    return {
        "bound": BOUND,
        "quiet": [asdict(one) for one in quiet],
        "stuck": [asdict(one) for one in stuck],
        "latency_s_p99_quiet": p99_quiet,
        "latency_s_p99_stuck": p99_stuck,
        "latency_p99_ratio": round(p99_stuck / p99_quiet, 3),
        "start_s": round(started_s - began_s, 1),
        "ran_s": round(ran_s - started_s, 1),
        "stop_s": round(time.monotonic() - ran_s, 1),
    }


def main() -> None:
    """Reads the command line, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="of all rounds with one receiver that is stuck")
    parser.add_argument("--rounds", type=int, default=1, help="of each kind, in turns")
    parser.add_argument("--lost", type=int, default=20, help="percent of requests and of replies")
    parser.add_argument("--failures", type=int, default=100_000, help="at most so many in each process")
    parser.add_argument("--noticed-ms", type=int, help="after twice as long at most Ray says that a call was lost")
    options = parser.parse_args()
    if options.lost:
        inject(options.lost, options.failures, options.noticed_ms)
    figures = asyncio.run(prove(options.messages, options.rounds))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
