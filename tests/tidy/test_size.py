"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tidy.conftest import refuse

if TYPE_CHECKING:
    from tests.tidy.conftest import House

FILE_LIMIT_LINES = 400
FUNCTION_LIMIT_LINES = 60


def test_no_file_is_longer_than_400_lines(house: House) -> None:
    refuse(
        (f"{source.name}: {length}" for source in house.programs if (length := len(source.lines)) > FILE_LIMIT_LINES),
        f"A file has at most {FILE_LIMIT_LINES} lines; give what it does besides to a file named for it:",
    )


def test_no_function_is_longer_than_60_lines(house: House) -> None:
    refuse(
        (
            f"{source.name}:{function.lineno}: {function.name} has {length}"
            for source in house.programs
            for function in source.functions()
            if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LIMIT_LINES
        ),
        f"A function has at most {FUNCTION_LIMIT_LINES} lines; decide in one, act in another:",
    )
