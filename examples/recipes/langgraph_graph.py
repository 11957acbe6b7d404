"""LangGraph: a typed function around a compiled graph is adopted."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from regrow import App, Supervisor, adopt, child


async def model(state: MessagesState) -> dict:
    return {"messages": [await ChatOpenAI(model="gpt-5-mini", max_retries=0).ainvoke(state["messages"])]}


graph = StateGraph(MessagesState).add_node("model", model).add_edge(START, "model").compile()


async def ask(question: str) -> str:
    return (await graph.ainvoke({"messages": [("user", question)]}))["messages"][-1].text


app = App("weather", Supervisor(children=[child(adopt(ask), id="weather", shutdown_s=5)]))
