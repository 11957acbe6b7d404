"""OpenAI Agents SDK: a typed function around the Runner is adopted."""

from agents import Agent, Runner, function_tool

from regrow import App, Supervisor, adopt, child


@function_tool
def temperature(city: str) -> str:
    return f"21 degrees in {city}"


weather = Agent(name="weather", instructions="Say what the weather is like.", model="gpt-5-mini", tools=[temperature])


async def ask(question: str) -> str:
    return str((await Runner.run(weather, question, max_turns=5)).final_output)


app = App("weather", Supervisor(children=[child(adopt(ask), id="weather", shutdown_s=5)]))
