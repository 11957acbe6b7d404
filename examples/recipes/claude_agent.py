"""Claude Agent SDK: each question is a run of its command-line program, whose result is the answer."""

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

from regrow import App, Supervisor, adopt, child

options = ClaudeAgentOptions(system_prompt="Say what the weather is like.", tools=[], max_turns=1, setting_sources=[])


async def ask(question: str) -> str:
    messages = [message async for message in query(prompt=question, options=options)]
    return next(str(message.result) for message in messages if isinstance(message, ResultMessage))


app = App("weather", Supervisor(children=[child(adopt(ask), id="weather", shutdown_s=5)]))
