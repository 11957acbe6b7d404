"""pydantic-ai: `run` of its agent is adopted, with the tool that it may run; `reply` takes the text out of a result."""

from pydantic_ai import Agent

from regrow import App, Supervisor, adopt, child, tool


@tool
async def temperature(city: str) -> str:
    """Gives the temperature in a city."""
    return f"21 degrees in {city}"


weather = Agent(
    "openai-chat:gpt-5-mini", instructions="Say what the weather is like.", tools=[temperature.as_function()]
)
ask = adopt(weather.run, reply=lambda result: result.output, tools=[temperature])
app = App("weather", Supervisor(children=[child(ask, id="weather", shutdown_s=5)]))
