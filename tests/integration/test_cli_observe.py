"""`regrow observe` as people give it: what it prints, to whom it listens, how it ends, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.shells import REGROW, RUNS, Program, Run, Shell, a_shell
from tests.integration.test_examples import REPOSITORY

pytestmark = pytest.mark.slow

SHOP = """\
from regrow import App, agent


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("shop", greet)
other = App("other", greet)
"""
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with a_shell(tmp_path_factory.mktemp("shell"), {"shop.py": SHOP}) as made:
        yield made


@pytest.fixture(scope="module")
def shop(shell: Shell) -> Iterator[Program]:
    """The shop, running."""
    running = Run(shell, "shop:app")
    running.err.wait(RUNS)
    yield running
    assert shell.regrow("stop", "shop").returncode == 0
    running.wait_end()


def status(url: str, token: str = "") -> int:
    """What is answered there."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_one_link_and_shows_the_one_app_until_it_is_told_to_end(
    shell: Shell, shop: Program, number: signal.Signals
) -> None:
    observer = Program(shell, "-c", REGROW, "observe", "--port", "0", "--json")
    try:
        told = json.loads(observer.out.wait("link")[0])
        observer.err.wait("until Ctrl-C")
        seen, token = status(f"{told['url']}traces"), told["link"].partition("#token=")[2]
        observer.process.send_signal(number)
        code, out, err = observer.wait_end()
    finally:
        observer.kill()

    assert (told["app"], seen) == ("shop", 200)
    assert len(token) >= 43
    assert code == (0 if number is signal.SIGINT else -signal.SIGTERM)
    assert token not in err
    assert out.count(token) == 1


def test_where_other_machines_can_ask_a_look_needs_the_token_of_the_file(shell: Shell, shop: Program) -> None:
    file = shell.folder / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    observer = Program(
        shell, "-c", REGROW, "observe", "shop", "--host", "0.0.0.0", "--port", "0", "--token-file", str(file), "--json"
    )
    try:
        told = json.loads(observer.out.wait("link")[0])
        observer.err.wait("until Ctrl-C")
        url = told["url"]
        answers = [status(f"{url}traces"), status(f"{url}traces", TOKEN), status(url)]
    finally:
        observer.kill()

    assert answers == [401, 200, 200]
    assert "0.0.0.0" not in url  # which no browser opens
    assert "TLS" in observer.err.whole()
    assert TOKEN not in json.dumps(told)


@pytest.mark.parametrize(
    ("written", "mode", "says"),
    [("short", 0o600, "is no token"), (TOKEN, 0o644, "others may read"), (None, 0, "can not be read")],
)
def test_a_file_that_holds_no_token_is_refused(
    shell: Shell, shop: Program, tmp_path: Path, written: str | None, mode: int, says: str
) -> None:
    file = tmp_path / "token"
    if written is not None:
        file.write_text(written)
        file.chmod(mode)

    done = shell.regrow("observe", "shop", "--port", "0", "--token-file", str(file))

    assert (done.returncode, says in done.stderr, done.stdout) == (2, True, "")
    assert done.stderr.count("\n") == 1


def test_what_can_not_be_shown_is_one_sentence(shell: Shell, shop: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, says in [
            (("shops",), "no app 'shops' is running here, only shop"),
            (("shop", "--port", port), f"port {port} is taken"),
            (("shop", "--host", "nowhere.invalid"), "is no address"),
            (("shop", "--host", ""), "--host is empty"),
            (("shop", "--host", "203.0.113.7", "--port", "0"), "can not listen at 203.0.113.7"),
        ]:
            done = shell.regrow("observe", *arguments)

            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert says in done.stderr
            assert done.stderr.count("\n") == 1


def test_without_its_libraries_it_says_what_to_install(shell: Shell, shop: Program) -> None:
    without = f"import sys; sys.modules['uvicorn'] = None; {REGROW}"

    done = shell.python("-c", without, "observe", "shop")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "regrow: the page needs uvicorn, which is not installed; pip install 'regrow[observe]'\n"


def test_the_options_in_the_guide_are_options(shell: Shell) -> None:
    guide = (REPOSITORY / "docs/guides/seeing-what-happened.md").read_text(encoding="utf-8")
    section = guide.partition("## A page to look at")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(--[a-z-]+)", section))

    told = shell.regrow("observe", "--help").stdout

    assert named == {"--host", "--token-file"}
    assert all(name in told for name in named)


def test_several_apps_are_told_to_whoever_names_none(shell: Shell, shop: Program) -> None:
    other = Run(shell, "shop:other")
    try:
        other.err.wait(RUNS)
        done = shell.regrow("observe")
        assert shell.regrow("stop", "other").returncode == 0
        other.wait_end()
    finally:
        other.kill()

    assert (done.returncode, "several apps run here: other, shop" in done.stderr) == (2, True)
