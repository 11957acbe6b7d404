"""AutoGen-core: its own runtime lives no longer than the turn."""

from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler
from autogen_core.models import CreateResult, UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient

from regrow import App, Supervisor, adopt, child


class Weather(RoutedAgent):
    @message_handler
    async def say(self, message: UserMessage, ctx: MessageContext) -> CreateResult:
        return await OpenAIChatCompletionClient(model="gpt-4o-mini").create([message])


async def ask(question: str) -> str:
    await Weather.register(runtime := SingleThreadedAgentRuntime(), "weather", lambda: Weather("says the weather"))
    runtime.start()
    try:
        return str(
            (await runtime.send_message(UserMessage(content=question, source="user"), AgentId("weather", "1"))).content
        )
    finally:
        await runtime.close()


app = App("weather", Supervisor(children=[child(adopt(ask), id="weather", shutdown_s=5)]))
