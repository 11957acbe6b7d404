"""One machine with OTP for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.oracle.erlang import NoErlang
from tests.oracle.otp import Otp


@pytest.fixture(scope="session")
def otp() -> Iterator[Otp]:
    """OTP's own supervisor. In CI it has to be there; elsewhere its absence is a reason to skip."""
    try:
        machine = Otp()
    except NoErlang as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Erlang/OTP to compare with: {error}")
    with machine:
        yield machine
