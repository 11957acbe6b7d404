"""LlamaIndex workflows: a typed function around the workflow is adopted."""

from llama_index.llms.openai_like import OpenAILike
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from regrow import App, Supervisor, adopt, child


class Weather(Workflow):
    @step
    async def say(self, event: StartEvent) -> StopEvent:
        model = OpenAILike(model="gpt-5-mini", is_chat_model=True, max_retries=0)
        return StopEvent(result=(await model.acomplete(event.question)).text)


async def ask(question: str) -> str:
    return await Weather(timeout=None).run(question=question)


app = App("weather", Supervisor(children=[child(adopt(ask), id="weather", shutdown_s=5)]))
