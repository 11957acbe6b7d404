"""Microsoft Agent Framework: the agent's own `run` is adopted, and `reply` takes the text out of its response."""

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient

from regrow import App, Supervisor, adopt, child


def temperature(city: str) -> str:
    """How warm it is in a city."""
    return f"21 degrees in {city}"


weather = Agent(OpenAIChatClient(model="gpt-5-mini"), instructions="Say the weather.", tools=[temperature])

ask = adopt(weather.run, reply=lambda response: response.text)
app = App("weather", Supervisor(children=[child(ask, id="weather", shutdown_s=5)]))
