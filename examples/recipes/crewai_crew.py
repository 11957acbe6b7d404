"""CrewAI: a typed function around the crew is adopted."""

from crewai import LLM, Agent, Crew, Task

from regrow import App, Supervisor, adopt, child

# It calls models in threads, which no cancellation reaches, so that they need a timeout of their own.
model = LLM(model="openai/gpt-4o-mini", max_retries=0, timeout=10)
reporter = Agent(role="reporter", goal="Say the weather", backstory="Looks out of the window", llm=model)


async def ask(question: str) -> str:
    task = Task(description=question, expected_output="one sentence", agent=reporter)
    return (await Crew(agents=[reporter], tasks=[task]).akickoff()).raw


app = App("weather", Supervisor(children=[child(adopt(ask), id="weather", shutdown_s=5)]))
