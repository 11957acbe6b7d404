"""What our own code does with the function of a tool: two files call it, one of them only what the gate has allowed.

What users can write is tried in tests/actors/test_tool_paths.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.tidy.conftest import House

MAY_RUN_A_TOOL = {
    "actors/tool_runner.py": "what the gate has allowed",
    "actors/tool_child.py": "the same in another process, which the runner has started",
}
KNOW_A_FUNCTION = {
    **MAY_RUN_A_TOOL,
    "actors/tool_functions.py": "copies its name and parameters to the functions for frameworks",
    "actors/tool_process.py": "names its module and qualname to the other process",
    "actors/agent.py": "that of a handler",
    "actors/agent_tool.py": "that of a handler, whose docstring it reads",
    "actors/function.py": "that of an agent function",
    "actors/adopted.py": "that of adopted code, which is no tool",
    "router/openai_tools.py": "what a completion calls so: a name and arguments as text",
    "router/openai_stream.py": "the same in pieces",
}
"""Who has to do with an attribute of the name `function`. Whoever adds a file says what function it is, and why."""
MAY_ASK_THE_RUNNER = {"actors/tool_calls.py", "actors/recorded_tools.py"}
MAY_SEND_TO_A_SERVER = {
    "actors/mcp_tool.py": "the function of a tool of an MCP server, which the runner calls like any other",
    "actors/mcp_call.py": "where it is defined",
}
MAY_MAKE_A_CALLS_CAPABILITY = {"actors/mcp_call.py"}


def sources(house: House) -> list[tuple[str, ast.Module]]:
    return [(source.name, source.tree) for source in [*house.rooms, *house.sources("api")]]


def test_all_who_have_to_do_with_the_function_of_a_tool_are_known(house: House) -> None:
    found = {
        name
        for name, tree in sources(house)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "function"
    }

    assert found == KNOW_A_FUNCTION.keys()


def test_of_those_only_two_call_that_of_a_tool(house: House) -> None:
    harmless = ("inspect.signature", "typing.get_type_hints", "importable_module")
    calls = {
        name
        for name, tree in sources(house)
        if name in KNOW_A_FUNCTION
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in harmless
        if any(ast.unparse(part) == "tool.function" for part in (node.func, *node.args))
    }

    assert calls == MAY_RUN_A_TOOL.keys()


def test_a_server_is_sent_a_call_by_the_functions_of_its_tools_alone(house: House) -> None:
    sends = {name for name, tree in sources(house) for node in ast.walk(tree) if names(node, "call_server")}
    makes = {name for name, tree in sources(house) for node in ast.walk(tree) if names(node, "one_call")}

    assert sends == MAY_SEND_TO_A_SERVER.keys()
    assert makes == {*MAY_MAKE_A_CALLS_CAPABILITY, "runtime/capability.py"}


def names(node: ast.AST, word: str) -> bool:
    match node:
        case ast.ImportFrom():
            return any(alias.name == word for alias in node.names)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return node.name == word
        case _:
            return False


def test_the_runner_is_asked_by_those_who_have_asked_the_gate(house: House) -> None:
    asks = {
        name
        for name, tree in sources(house)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name in ("runner_of", "ToolRunner") for alias in node.names)
    }

    assert asks == MAY_ASK_THE_RUNNER
