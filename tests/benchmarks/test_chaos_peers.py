"""Who is at the other end of a connection is found, also over TCP, where the kernel does not tell."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from chaos_peers import pid_of_peer
from chaos_processes import Processes, children_of

CONNECTS = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.recv(1)
"""


def test_the_process_at_the_other_end_of_a_connection_over_tcp_is_found_as_long_as_it_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = subprocess.Popen([sys.executable, "-c", CONNECTS, str(server.getsockname()[1])])
        with child, server.accept()[0] as connection:
            assert pid_of_peer(connection) == child.pid

            connection.send(b"1")
            child.wait()
            with pytest.raises(ProcessLookupError):
                pid_of_peer(connection)


def test_of_a_socket_of_the_file_system_the_kernel_tells_it() -> None:
    ours, theirs = socket.socketpair()

    with ours, theirs:
        assert pid_of_peer(ours) == os.getpid()


def test_processes_are_held_with_their_children_and_have_ended_when_all_have() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        assert child.pid in children_of(os.getpid())
        with Processes([child.pid]) as processes:
            assert processes.left() == [child.pid]

            child.kill()
            child.wait()

            assert processes.left() == []
    finally:
        child.kill()
