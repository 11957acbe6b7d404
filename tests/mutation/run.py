"""Plants one fault at a time in a copy of the tree, and shows that the tests notice it: `make mutations`.

    python -m tests.mutation.run [--only WORD] [--json]

Without `--only` it writes docs/MUTATIONS.md. It ends with 1 when a fault is not noticed. It ends with 2 when nothing
can be told: an edit does not fit the sources any more, the named tests do not pass in the copy without any fault,
under a fault they can not even be set up, or the test that failed under a fault fails without it as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.mutation.agent_faults import AGENT_FAULTS
from tests.mutation.claim_faults import CLAIM_FAULTS
from tests.mutation.durable_faults import DURABLE_FAULTS
from tests.mutation.faults import FAULTS, PLACED, Edit, Fault
from tests.mutation.guard_faults import GUARD_FAULTS

ALL_FAULTS = (*FAULTS, *AGENT_FAULTS, *CLAIM_FAULTS, *DURABLE_FAULTS, *GUARD_FAULTS)

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "MUTATIONS.md"

RUN_LIMIT_S = 300.0
"""A run of a few tests that takes longer hangs, and that is not the answer a person can work with."""

PATIENCE = Edit("tests/integration/waiting.py", "PATIENCE_S = 30.0", "PATIENCE_S = 20.0")
"""In the copy, what a fault keeps from happening is not waited for so long."""

PASSED, FAILED = 0, 1
"""Exit codes of pytest; all others say that it could not do its work."""


class CannotTell(Exception):
    """Something is wrong with the check itself."""


@dataclass(frozen=True, slots=True)
class Untold:
    """A run that shows nothing: its tests could not be set up, came to no end, or fail without the fault as well."""

    why: str


Outcome = str | Untold | None
"""The test that failed, empty when none did. None where the fault has no place in the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of one fault."""

    fault: Fault
    inline: Outcome
    two_hosts: Outcome

    @property
    def noticed(self) -> bool:
        """Whether every run that should notice it did, by a test that failed."""
        return all(run is None or (isinstance(run, str) and run) for run in (self.inline, self.two_hosts))

    @property
    def untold(self) -> list[str]:
        """Why runs show nothing."""
        return [run.why for run in (self.inline, self.two_hosts) if isinstance(run, Untold)]

    @property
    def verdict(self) -> str:
        """In a word."""
        return "can not be told" if self.untold else "noticed" if self.noticed else "UNNOTICED"


class Sources(Protocol):
    """Where faults are planted and tests are run."""

    def plant(self, fault: Fault) -> None:
        """Makes the edits of a fault."""
        ...

    def heal(self, fault: Fault) -> None:
        """Takes them back."""
        ...

    def failing(self, tests: Sequence[str]) -> str:
        """The first of these tests that fails, empty when all pass. Raises CannotTell."""
        ...


class Copy:
    """A copy of the tree, in which edits are made and taken back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""
        self._whole: dict[Path, str] = {}
        """What the files of a planted fault held before."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
        for name in filter(None, names):
            source, target = ROOT / name, folder / name
            if source.exists() or source.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)

        self._make(PATIENCE)

    def plant(self, fault: Fault) -> None:
        """Makes the edits of a fault. Raises CannotTell when one does not fit."""
        for edit in fault.edits:
            path = self.folder / edit.file
            self._whole.setdefault(path, path.read_text(encoding="utf-8"))
            self._make(edit)

    def _make(self, edit: Edit) -> None:
        path = self.folder / edit.file
        text = path.read_text(encoding="utf-8")
        if (times := text.count(edit.old)) != 1:
            raise CannotTell(
                f"an edit stands {times} times in {edit.file}, and should once; mend it in tests/mutation:\n{edit.old}"
            )
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")

    def heal(self, fault: Fault) -> None:
        """Takes the edits back, whatever has become of the original meanwhile."""
        while self._whole:
            path, text = self._whole.popitem()
            path.write_text(text, encoding="utf-8")

    def failing(self, tests: Sequence[str]) -> str:
        """The first of these tests that fails, empty when all pass. Raises CannotTell when they could not be run."""
        self.said, failed = self._run(tests)
        return failed

    def _run(self, tests: Sequence[str]) -> tuple[str, str]:
        """What pytest printed, and the first test that failed."""
        pytest = Path(sys.executable).with_name("pytest")
        command = [str(pytest), "-q", "-x", "-rfE", "-p", "no:cacheprovider", "--no-header", "--tb=short", *tests]
        # Before the editable install, whose rooms are those of the original.
        environment = {**os.environ, "PYTHONPATH": str(self.folder / ".types"), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            ran = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=RUN_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise CannotTell(f"no end within {RUN_LIMIT_S:g} s: {' '.join(tests)}") from late
        if ran.returncode not in (PASSED, FAILED):
            raise CannotTell(f"pytest ended with {ran.returncode}:\n{ran.stdout[-2_000:]}{ran.stderr[-2_000:]}")
        return ran.stdout, first_failure(ran.stdout) if ran.returncode == FAILED else ""


def first_failure(printed: str) -> str:
    """The first test that failed in a run of pytest that did not pass, by its summary.

    Raises CannotTell when none did: a fault under which the tests can not even be set up shows nothing about them.
    """
    failed = next((line for line in printed.splitlines() if line.startswith("FAILED ")), "")
    if failed:
        return failed.partition(" ")[2].partition(" - ")[0]
    error = next((line for line in printed.splitlines() if line.startswith("ERROR ")), "")
    if error:
        raise CannotTell(f"no test failed, but this could not be set up or ended: {error[6:]}\n{printed[-2_000:]}")
    raise CannotTell(f"pytest failed and named no test:\n{printed[-2_000:]}")


def check(copy: Sources, fault: Fault) -> Found:
    """Plants one fault and runs its tests; those that failed are run once more without it."""
    copy.plant(fault)
    try:
        inline, two_hosts = _outcome(copy, fault.inline), _outcome(copy, fault.two_hosts)
    finally:
        copy.heal(fault)
    return Found(fault=fault, inline=_confirmed(copy, inline), two_hosts=_confirmed(copy, two_hosts))


def _confirmed(copy: Sources, run: Outcome) -> Outcome:
    """A test has noticed a fault only if it passes without: else one that fails now and then would notice them all."""
    if not run or isinstance(run, Untold):
        return run
    again = _outcome(copy, (run,))
    if isinstance(again, Untold):
        return Untold(f"whether {run} passes without the fault can not be told: {again.why}")
    return Untold(f"{run} failed, but it fails without the fault as well") if again else run


def _outcome(copy: Sources, tests: Sequence[str]) -> Outcome:
    if not tests:
        return None
    try:
        return copy.failing(tests)
    except CannotTell as trouble:  # the other faults can still be told
        return Untold(str(trouble))


def table(found: Sequence[Found], took_s: float) -> str:
    """The page that shows it all."""
    rows = [f"| {one.fault.name} | {_cell(one.inline)} | {_cell(one.two_hosts)} |" for one in found]
    noticed = sum(one.noticed for one in found)
    return PAGE.format(rows="\n".join(rows), noticed=noticed, planted=len(found), took_s=took_s)


PAGE = (
    "# Mutation check\n\n"
    "Tests that never fail prove nothing. `make mutations` copies the tree, plants one fault at a time, runs the\n"
    "tests that should notice it, and writes this page. It fails when a fault goes unnoticed, when the tests fail\n"
    "without it as well, and when the code has changed so that a fault no longer fits. A test that failed is run once\n"
    "more when the fault is taken back, and has noticed it only if it passes then. The faults stand in\n"
    "`tests/mutation/faults.py`, `agent_faults.py` and `claim_faults.py`.\n\n"
    "Of {planted} faults {noticed} were noticed; the run took {took_s:.0f} s.\n\n"
    "Each cell names the first test that failed. *On two hosts* is real Ray with two processes where it says Ray, or\n"
    "two raylets where it says that, and else two runtimes on the virtual clock. A dash stands where that run has no\n"
    "place for the fault: links, other processes and the keeper that kills them are not there inline.\n\n"
    "| fault | noticed inline by | noticed on two hosts by |\n|---|---|---|\n"
    "{rows}\n"
)


ON_RAY = {"[two_hosts": "Ray: ", "[two_raylets": "Ray, two raylets: "}
"""What a cell says of where a test of the placements ran, by the beginning of its case."""


def _cell(run: Outcome) -> str:
    if run is None:
        return "–"
    if isinstance(run, Untold):
        return "*can not be told*"
    on_ray = next((where for case, where in ON_RAY.items() if case in run), "") if run.startswith(PLACED) else ""
    return f"{on_ray}`{run.partition('::')[2].partition('[')[0]}`" if run else "**nobody**"


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when every fault was noticed, 1 when one was not, and 2 when that can not be told."""
    parser = argparse.ArgumentParser(prog="tests.mutation.run", description=__doc__)
    parser.add_argument("--only", default="", help="only faults with this in their name; writes no page")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    faults = [fault for fault in ALL_FAULTS if chosen.only in fault.name]
    began = time.monotonic()
    found: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="regrow-mutation-") as folder:
        copy = Copy(Path(folder))
        try:
            for fault in faults:  # first: an edit that does not fit is told in a second, not after minutes
                copy.plant(fault)
                copy.heal(fault)
            _sound(copy, faults)
            for fault in faults:
                found.append(check(copy, fault))
                print("\n".join([f"{found[-1].verdict}: {fault.name}", *found[-1].untold]), file=sys.stderr)
        except CannotTell as trouble:
            print(trouble, file=sys.stderr)
            return 2
    took_s = time.monotonic() - began
    if not chosen.only:
        TABLE.write_text(table(found, took_s), encoding="utf-8")
    print(_as_json(found, took_s) if chosen.json else table(found, took_s))
    return exit_code(found)


def exit_code(found: Sequence[Found]) -> int:
    """See main."""
    if any(one.untold for one in found):
        return 2
    return 0 if all(one.noticed for one in found) else 1


def _sound(copy: Copy, faults: Sequence[Fault]) -> None:
    """Raises CannotTell unless all tests pass without a fault."""
    tests = dict.fromkeys(test for fault in faults for test in (*fault.inline, *fault.two_hosts))
    placed = [test for test in tests if test.startswith(PLACED)]
    for some in (placed, [test for test in tests if test not in placed]):
        if some and (failed := copy.failing(some)):
            raise CannotTell(f"fails without any fault: {failed}\n{copy.said[-4_000:]}")


def _told(run: Outcome) -> str | None:
    return None if isinstance(run, Untold) else run


def _as_json(found: Sequence[Found], took_s: float) -> str:
    return json.dumps(
        {
            "planted": len(found),
            "noticed": sum(one.noticed for one in found),
            "took_s": round(took_s, 1),
            "faults": [
                {
                    "name": one.fault.name,
                    "verdict": one.verdict,
                    "inline": _told(one.inline),
                    "two_hosts": _told(one.two_hosts),
                }
                for one in found
            ],
        }
    )


if __name__ == "__main__":
    sys.exit(main())
