"""Each benchmark, run quickly, ends by itself and closes with one JSON object that has its keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ray]

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 120
"""Twice what a quick run gives itself."""

KEYS: dict[str, tuple[str, ...]] = {
    "messaging": (
        "tell_ratio",
        "ask_pipelined_ratio",
        "ask_lone_ratio",
        "ask_inhost_of_bare",
        "tell_per_s",
        "ask_per_s",
        "lone_ask_ms",
        "raw_tell_per_s",
        "raw_lone_ms",
        "inhost_ask_per_s",
    ),
    "restart": ("regrow_ms_p50", "regrow_ms_p99", "ray_ms_p50", "ratio", "rounds"),
    "supervision": ("start_stop_growth", "restart_growth", "mass_loss_growth"),
    "start": ("cold_inline_s", "cold_ray_over_init_s", "import_s"),
}
OF_PEERS: dict[str, tuple[str, ...]] = {"messaging": ("ask_inhost_ratio", "ask_pipelined_of_xoscar")}
"""Null where the peer could not be installed, as without a network."""


@pytest.mark.parametrize("script", KEYS)
def test_a_quick_benchmark_ends_with_its_figures_as_json(script: str, tmp_path: Path) -> None:
    result = last_line(script, "--quick", at=tmp_path)

    missing = [key for key in KEYS[script] if not isinstance(result.get(key), int | float)]
    assert not missing
    assert result.keys() >= set(OF_PEERS.get(script, ()))


def last_line(script: str, *arguments: str, at: Path) -> dict[str, Any]:
    """The JSON object that a benchmark prints last."""
    command = [sys.executable, str(REPOSITORY / "benchmarks" / f"{script}.py"), *arguments]
    done = subprocess.run(command, check=False, cwd=at, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, (
        f"{script}.py ended with {done.returncode}:\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}"
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
