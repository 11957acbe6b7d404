"""Apps whose agents have settings, or can not start."""

from __future__ import annotations

from regrow import Agent, App, Context, Message, Packed, Request, Supervisor, child, on

HOME = Packed("home")


class Limits(Message):
    size: int
    side: str = "left"
    wide: bool = False


class Other(Message):
    size: int


class Measure(Request[str]):
    pass


class Limited(Agent):
    """Has settings of a type of its own."""

    config: Limits

    def __init__(self) -> None:
        self.size = self.config.size

    @on
    async def measure(self, request: Measure) -> str:
        return f"{self.size} of {self.config.side}, wide={self.config.wide}"


class Unready(Agent):
    """Fails in `started`."""

    async def started(self, ctx: Context) -> None:
        raise ConnectionError("no printer")


class Unmade(Agent):
    """Fails in its constructor."""

    def __init__(self) -> None:
        self.part = 1 / 0


app = App(
    "configured",
    Supervisor(
        children=[
            child(Limited, id="narrow", config=Limits(size=3), placement=HOME),
            child(Limited, id="broad", config=Limits(size=9, side="right", wide=True), placement=HOME),
        ]
    ),
)

wrong = App("wrong", child(Limited, config=Other(size=1)))

late = App("late", child(Unready))

unmade = App(
    "unmade",
    Supervisor(children=[child(Limited, config=Limits(size=1), placement=HOME), child(Unmade, placement=HOME)]),
)
