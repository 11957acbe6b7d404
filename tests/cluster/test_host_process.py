"""Host processes as the operating system knows them: real processes, stopped and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from regrow.cluster.host_process import claim, end, end_others, gone, hosts_of
from regrow.runtime import HostId
from tests.integration.belongings import alive
from tests.integration.waiting import until_now

HOST = """\
import sys
from regrow.cluster.host_process import claim
held = claim(*sys.argv[1:])
print("claimed", flush=True)
sys.stdin.read()
"""

CHILD = """\
import threading
from regrow.cluster.host_process import end_with_parent
end_with_parent()
print("stands", flush=True)
threading.Event().wait()
"""

PARENT = """\
import subprocess, sys
child = subprocess.Popen([sys.argv[1], "-c", sys.argv[2]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def host(owner: str, name: str) -> Iterator[int]:
    """A process that is a host of an owner."""
    command = [sys.executable, "-c", HOST, owner, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"claimed\n"
            yield process.pid
        finally:
            process.kill()


@pytest.mark.program
def test_a_host_is_found_while_it_lives_and_not_afterwards() -> None:
    owner = f"owner-{os.getpid()}"
    with host(owner, "desk.a.h1") as pid:
        assert hosts_of(owner) == {"desk.a.h1": pid}
        assert hosts_of(f"{owner}x") == {}
        os.kill(pid, signal.SIGSTOP)
        assert hosts_of(owner) == {"desk.a.h1": pid}, "a stopped process is not a dead one"

    assert hosts_of(owner) == {}


@pytest.mark.program
async def test_the_hosts_of_earlier_lives_are_ended_even_when_they_hang_and_those_of_this_one_stay() -> None:
    owner = f"owner-{os.getpid()}"
    with host(owner, "desk.old.h1") as old, host(owner, "desk.new.h1") as new, host("another", "desk.old.h1") as other:
        os.kill(old, signal.SIGSTOP)

        await end_others(owner, HostId("desk.new"))

        assert await gone(old)
        assert hosts_of(owner) == {"desk.new.h1": new}
        assert hosts_of("another") == {"desk.old.h1": other}


@pytest.mark.program
async def test_a_host_is_ended_for_certain_even_when_it_hangs_and_no_other_process_of_its_number_is() -> None:
    owner = f"owner-{os.getpid()}"
    with host(owner, "desk.a.h1") as first, host(owner, "desk.a.h2") as second:
        os.kill(first, signal.SIGSTOP)

        assert await end(owner, HostId("desk.a.h3"), second), "there is no such host, so it is gone"
        assert await end(owner, HostId("desk.a.h1"), first)

        assert hosts_of(owner) == {"desk.a.h2": second}


@pytest.mark.program
def test_a_process_ends_with_the_one_that_started_it() -> None:
    command = [sys.executable, "-c", PARENT, sys.executable, CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)

        parent.kill()

        until_now(lambda: not alive(child), "the child has ended as well")


def test_a_name_is_free_when_its_holder_lets_go() -> None:
    owner = f"owner-{os.getpid()}"
    held = claim(owner, HostId("desk.a.h2"))
    assert held is not None
    assert hosts_of(owner) == {"desk.a.h2": os.getpid()}

    held.close()

    assert hosts_of(owner) == {}
