"""What a chaos run has left behind is found."""

from __future__ import annotations

from pathlib import Path

from chaos_leftovers import processes_in


def process(proc: Path, pid: str, *, state: str, opened: list[Path]) -> None:
    """An entry of a process list, in which the first link can not be read any more."""
    (proc / pid / "fd").mkdir(parents=True)
    (proc / pid / "stat").write_text(f"{pid} (python (3)) {state} 1 1")
    (proc / pid / "cmdline").write_bytes(b"python\0run.py\0")
    (proc / pid / "cwd").touch()
    for number, file in enumerate(opened):
        (proc / pid / "fd" / str(number)).symlink_to(file)


def test_a_process_is_found_by_any_file_that_it_has_open_though_another_was_closed_meanwhile(tmp_path: Path) -> None:
    proc, folder = tmp_path / "proc", tmp_path / "run"
    process(proc, "0007", state="S", opened=[tmp_path / "far", folder / "log"])
    process(proc, "0008", state="S", opened=[tmp_path / "far"])
    process(proc, "0009", state="Z", opened=[folder / "log"])

    assert processes_in(folder, proc) == ["process 0007 python run.py"]
