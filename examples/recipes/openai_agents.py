"""OpenAI Agents SDK: a typed function around the Runner is adopted, with the tool that it may run."""

from agents import Agent, Runner, function_tool

from regrow import App, Supervisor, adopt, child, tool


@tool
async def temperature(city: str) -> str:
    """Gives the temperature in a city."""
    return f"21 degrees in {city}"


weather = Agent(name="weather", model="gpt-5-mini", tools=[function_tool(temperature.as_function())])


async def ask(question: str) -> str:
    return str((await Runner.run(weather, question, max_turns=5)).final_output)


app = App("weather", Supervisor(children=[child(adopt(ask, tools=[temperature]), id="weather", shutdown_s=5)]))
