"""A function's docstring as a model reads it: what the tool does, and what each argument means. Pure.

Two notations are read: a section `Args:` as Google's style guide has it, and Sphinx' `:param name: …`.
"""

from __future__ import annotations

import inspect
import re

_ARGUMENTS = re.compile(r"(?:Args|Arguments|Parameters):\s*")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_PARAM = re.compile(r":param(?:\s+[^:]*?)?\s+(\w+)\s*:\s*(.*)")


def described(docstring: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of its function, without what it says of arguments; and that, by their names."""
    kept: list[str] = []
    of_arguments: dict[str, str] = {}
    name, depth, in_section = "", 0, False
    for line in inspect.cleandoc(docstring).splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent == 0:
            name, in_section = "", _ARGUMENTS.fullmatch(line) is not None
            parameter = _PARAM.fullmatch(line)
            if parameter is not None:
                name, depth = parameter[1], 0
                of_arguments[name] = parameter[2].strip()
            elif not in_section:
                kept.append(line)
            continue
        entry = _ENTRY.fullmatch(line.strip()) if in_section else None
        if entry is not None and (not name or indent <= depth):
            name, depth = entry[1], indent
            of_arguments[name] = entry[2].strip()
        elif name and line.strip():
            of_arguments[name] = f"{of_arguments[name]} {line.strip()}".strip()
        elif not in_section:
            kept.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), of_arguments
