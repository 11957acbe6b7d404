"""The proxy before Redis does what its traps say, at the script, the side and the agent that they say."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from chaos_late import is_done, sent_late
from chaos_proxy import Act, RedisProxy, Side, Trap
from redis import Redis

from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime import ActorId
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.journal_answers import EnqueueVerdict
from regrow.runtime.journal_entries import NEVER_CLAIMED, Commit, Hand, Incoming, OperationId, Outcome, Writes
from regrow.runtime.journal_errors import JournalUnknown
from tests.conformance.redis_servers import embedded_program, started

pytestmark = [pytest.mark.slow, pytest.mark.redis]

CLERK, OTHER = ActorId("desk/clerk"), ActorId("desk/other")


@contextmanager
def proxied() -> Iterator[tuple[RedisProxy, str]]:
    """A proxy before a Redis, and the URL of its socket."""
    with tempfile.TemporaryDirectory(prefix="p-", dir="/tmp") as name:  # short, for the sockets
        folder = Path(name)
        url = f"unix://{folder}/proxy.sock"
        proxy = RedisProxy({folder / "proxy.sock": behind(url)})
        with started(embedded_program(), behind(url).parent, "port 0"):
            proxy.start()
            yield proxy, url
            proxy.stop()


def behind(url: str) -> Path:
    """The socket of the Redis to which a proxy carries what comes to its URL."""
    return Path(url.removeprefix("unix://")).with_name("redis") / "redis.sock"


def mail(agent: ActorId = CLERK) -> Incoming:
    return Incoming(agent=agent, command=new_command_id(), body=b"body", epoch=None)


@pytest.mark.parametrize(("side", "verdict"), [(Side.BEFORE, "accepted"), (Side.AFTER, "pending")])
async def test_a_cut_lets_nobody_know_whether_a_script_was_applied(side: Side, verdict: str) -> None:
    async with AsyncExitStack() as stack:
        proxy, url = stack.enter_context(proxied())
        journal = RedisJournal.from_url(url, app="desk")
        message = mail()
        sprung = proxy.arm(Trap(script="enqueue", side=side, act=Act.CUT, agent=CLERK))

        await journal.enqueue([mail(OTHER)])
        assert not sprung.done()
        with pytest.raises(JournalUnknown):
            await journal.enqueue([message])

        call = sprung.result(0).call
        assert (call.name, call.agent, call.command) == ("enqueue", CLERK, message.command)
        [again] = await journal.enqueue([message])
        assert again.verdict is EnqueueVerdict(verdict)
        await journal.aclose()


async def test_a_script_that_is_sent_twice_is_answered_once_by_what_the_second_found() -> None:
    async with AsyncExitStack() as stack:
        proxy, url = stack.enter_context(proxied())
        journal = RedisJournal.from_url(url, app="desk")
        await journal.enqueue([mail(OTHER)])  # so that the server knows the script
        proxy.arm(Trap(script="enqueue", side=Side.BEFORE, act=Act.TWICE, agent=CLERK))

        [[first], [second]] = [await journal.enqueue([mail()]) for _ in range(2)]

        assert (first.verdict, first.seq) == (EnqueueVerdict.PENDING, 1)
        assert (second.verdict, second.seq) == (EnqueueVerdict.ACCEPTED, 2)
        await journal.aclose()


async def test_a_trap_that_follows_another_takes_nothing_that_came_before_it() -> None:
    async with AsyncExitStack() as stack:
        proxy, url = stack.enter_context(proxied())
        journal = RedisJournal.from_url(url, app="desk")
        second = Trap(script="enqueue", side=Side.AFTER, act=Act.CUT, agent=OTHER)
        proxy.arm(Trap(script="enqueue", side=Side.BEFORE, act=Act.CUT, agent=CLERK, then=second))

        await journal.enqueue([mail(OTHER)])
        assert not second.sprung.done()
        for agent in (CLERK, OTHER):
            with pytest.raises(JournalUnknown):
                await journal.enqueue([mail(agent)])

        assert second.sprung.result(0).call.agent == OTHER
        await journal.aclose()


async def test_a_trap_that_was_cancelled_does_nothing() -> None:
    async with AsyncExitStack() as stack:
        proxy, url = stack.enter_context(proxied())
        journal = RedisJournal.from_url(url, app="desk")
        assert proxy.arm(Trap(script="enqueue", side=Side.BEFORE, act=Act.CUT)).cancel()

        [stored] = await journal.enqueue([mail()])

        assert stored.verdict is EnqueueVerdict.ACCEPTED
        await journal.aclose()


async def test_a_script_that_comes_late_gets_its_answer_past_the_app() -> None:
    async with AsyncExitStack() as stack:
        proxy, url = stack.enter_context(proxied())
        journal = RedisJournal.from_url(url, app="desk")
        message = mail()
        await journal.enqueue([mail(OTHER)])  # so that the server knows the script
        sprung = proxy.arm(Trap(script="enqueue", side=Side.BEFORE, act=Act.CUT, agent=CLERK))
        with pytest.raises(JournalUnknown):
            await journal.enqueue([message])

        assert b"accepted" in sent_late(sprung.result(0).call.raw, behind(url))

        [again] = await journal.enqueue([message])
        assert again.verdict is EnqueueVerdict.PENDING
        await journal.aclose()


@pytest.mark.parametrize("side", [Side.BEFORE, Side.AFTER])
async def test_a_commit_whose_answer_was_lost_is_known_as_done_before_it_comes_late(side: Side) -> None:
    async with AsyncExitStack() as stack:
        proxy, url = stack.enter_context(proxied())
        journal = RedisJournal.from_url(url, app="desk")
        client = stack.enter_context(Redis(unix_socket_path=url.removeprefix("unix://")))
        host = await journal.new_host_epoch()
        await journal.renew(host, ttl_ms=60_000)
        claim = await journal.claim(CLERK, host, previous=NEVER_CLAIMED, operation=OperationId("claim"))
        message = replace(mail(), epoch=claim.row.epoch)
        await journal.enqueue([message])
        sprung = proxy.arm(Trap(script="commit", side=side, act=Act.CUT, agent=CLERK))
        hand = Hand(
            agent=CLERK,
            epoch=claim.row.epoch,
            version=claim.row.version,
            command=message.command,
            operation=OperationId("commit"),
        )

        with pytest.raises(JournalUnknown):
            await journal.commit(Commit(hand=hand, outcome=Outcome.COMMITTED, result=b"r", writes=Writes()), limit=100)

        commit = sprung.result(0).call.raw
        assert is_done(client, commit) == (side is Side.AFTER)
        assert b"done" in sent_late(commit, behind(url))
        assert is_done(client, commit)
        await journal.aclose()
