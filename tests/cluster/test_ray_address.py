"""Whether a Ray answers at an address: a look of seconds, where Ray's own takes minutes and hears no signal."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from regrow.cluster import ray_address
from regrow.cluster.config import RaySettings
from regrow.cluster.errors import RayUnavailable
from regrow.cluster.ray_address import RayAddress, trouble
from regrow.cluster.ray_connect import RaySession

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[RayAddress]:
    """Somebody who listens, and serves one connection in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield RayAddress(f"127.0.0.1:{server.getsockname()[1]}", "ray.address")
        thread.join(5)


def test_the_variable_stands_in_for_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    assert ray_address.ray_address(RaySettings()) == RayAddress("10.0.0.1:6379", "RAY_ADDRESS")
    assert ray_address.ray_address(RaySettings(address="auto")) == RayAddress("auto", "ray.address")


def test_who_answers_as_grpc_does_may_be_a_ray() -> None:
    with listener(lambda connection: connection.sendall(SETTINGS)) as address:
        assert trouble(address) == ""


def test_who_says_something_else_is_no_ray() -> None:
    with listener(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert trouble(address) == (
            f"what listens at '{address.text}' is no Ray; start one with `ray start --head`, or correct ray.address"
        )


def test_who_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "ANSWER_S", 0.01)
    given_up = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        given_up.wait(5)

    with listener(say_nothing) as address:
        assert "gave no answer within 0.01 s" in trouble(address)
        given_up.set()


def test_an_address_where_nobody_listens_is_refused_before_ray_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")

    with pytest.raises(RayUnavailable, match=r"no Ray answers at '127.0.0.1:9'.*correct RAY_ADDRESS"):
        RaySession(RaySettings()).open()
