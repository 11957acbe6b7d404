"""pydantic-ai: the agent's own `run` is adopted, and `reply` takes the text out of its result."""

from pydantic_ai import Agent

from regrow import App, Supervisor, adopt, child

weather = Agent("openai-chat:gpt-5-mini", instructions="Say what the weather is like.")


@weather.tool_plain
def temperature(city: str) -> str:
    return f"21 degrees in {city}"


ask = adopt(weather.run, reply=lambda result: result.output)
app = App("weather", Supervisor(children=[child(ask, id="weather", shutdown_s=5)]))
