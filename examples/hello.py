from regrow import App, agent


@agent  # a plain function is an agent; its messages are made from its signature
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("hello", greet)

if __name__ == "__main__":
    print(app.ask(greet, "world"))  # blocking, inline engine: first answer within 2 s, no Ray
