"""The guide on traces is executed: its example leaves the traces that it shows, and the commands draw them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from regrow.cluster.config import Settings
from regrow.cluster.metrics import AppMetrics, told
from regrow.cluster.prometheus_text import text_of
from tests.cluster.test_metrics_endpoint import BUSY
from tests.integration.test_examples import EXAMPLES, REPOSITORY, blocks

GUIDE = REPOSITORY / "docs/guides/seeing-what-happened.md"

pytestmark = [pytest.mark.slow, pytest.mark.program]


def ran(folder: Path, *command: str) -> str:
    """What a command prints in a folder of the user's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGROW_", "OTEL_"))}
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def regrow(folder: Path, *words: str) -> str:
    """What a verb of the command prints there."""
    return ran(folder, "-c", "from regrow.cluster.entry import main; main()", *words)


def without_chance(text: str) -> list[str]:
    """Lines without ids, times and the widths of columns."""
    text = re.sub(r"[\d.,]+ (µs|ms|s)\b", "T", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "WHEN", text)
    text = re.sub(r"\b[0-9a-f]{12,32}\b", "ID", text)
    text = re.sub(r"(#|pid )\d+", r"\1N", text)
    text = re.sub(r'File ".*examples/', 'File "examples/', text)
    return [re.sub(r" +", " ", line).strip() for line in text.strip().splitlines()]


def test_the_commands_show_what_the_guide_shows(tmp_path: Path) -> None:
    (answer,) = blocks(GUIDE, "text")
    shown = [block.partition("\n")[2] for block in blocks(GUIDE, "console") if block.startswith("$ regrow")]

    said = ran(tmp_path, str(EXAMPLES / "seen.py"))
    listed = regrow(tmp_path, "traces")
    newest = json.loads(regrow(tmp_path, "traces", "--json"))["traces"][-1]["trace_id"]
    drawn = regrow(tmp_path, "trace", newest[:8])

    assert said == answer
    assert without_chance(listed) == without_chance(shown[0])
    assert without_chance(drawn) == without_chance(shown[1])
    assert without_chance(regrow(tmp_path, "why", "seen/clerk")) == without_chance(shown[2])
    assert without_chance(regrow(tmp_path, "why", "seen")) == without_chance(shown[3])


def test_the_code_in_the_guide_is_the_code_of_its_example() -> None:
    program = (EXAMPLES / "seen.py").read_text("utf-8")
    shown = blocks(GUIDE, "python")

    assert len(shown) > 1
    assert [block for block in shown if block not in program] == []


def test_the_settings_in_the_guide_are_settings_and_those_that_count_unless_others_are_given() -> None:
    text, others = blocks(GUIDE, "toml")
    given = Settings(**tomllib.loads(text)).tracing

    assert given.redact != ()
    assert given.enabled
    assert given.model_copy(update={"redact": (), "enabled": None}) == Settings().tracing
    beside = Settings(**tomllib.loads(others))
    assert beside.metrics.place == ("127.0.0.1", 9464)
    assert beside.log == Settings().log


def test_the_numbers_in_the_guide_have_the_keys_and_names_that_an_app_tells() -> None:
    (text,) = blocks(GUIDE, "json")
    shown = json.loads(text)
    named = dict(re.findall(r"^\| `(regrow_\w+)` \| (.*)\|$", GUIDE.read_text("utf-8"), re.MULTILINE))

    told_of = AppMetrics(hosts=(BUSY,))
    metrics = told(told_of)
    labels = {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels
        }
        for family in text_string_to_metric_families(text_of(told_of, "desk"))
    }

    assert shown["total"].keys() == metrics["total"].keys()
    assert [row.keys() for row in shown["hosts"]] == [row.keys() for row in metrics["hosts"]]
    assert [row.keys() for row in shown["models"]] == [row.keys() for row in metrics["models"]]
    assert shown["total"]["commit_ms"].keys() == metrics["total"]["commit_ms"].keys()
    assert {name: set(re.findall(r"\w+", words)) for name, words in named.items()} == {
        name: found - {"app", "host"} for name, found in labels.items()
    }
