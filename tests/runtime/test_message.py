"""Messages: deeply immutable by type, known by a name, with declared replies (SEMANTICS 4)."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import sys
import types
import typing
import uuid
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from regrow.runtime.errors import InvalidMessage
from regrow.runtime.immutable import importable_module, is_plain, mutable_part, shown, wire_name
from regrow.runtime.lifecycle import Crashed, ExitReason, Killed, Normal
from regrow.runtime.message import Message, Request, registered, reply_type
from regrow.runtime.ref import ActorRef
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Echo, Note, Process

Cents = NewType("Cents", int)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Frozen:
    tags: tuple[str, ...]


@dataclasses.dataclass
class Melting:
    n: int


@dataclasses.dataclass(frozen=True)
class FrozenShell:
    inside: list[int]


@dataclasses.dataclass(frozen=True)
class FrozenTree:
    below: tuple[FrozenTree, ...] = ()


@dataclasses.dataclass(frozen=True)
class MeltingTree:
    below: tuple[MeltingTree, ...]
    leaves: list[int]


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)
    n: int


class OpenModel(BaseModel):
    n: int


class FrozenOverOpen(BaseModel):
    model_config = ConfigDict(frozen=True)
    inside: OpenModel


class Plain:
    pass


IMMUTABLE = [
    int,
    None,
    str | None,
    Optional[bytes],  # noqa: UP045 # the old spelling is another object
    tuple[int, ...],
    tuple[str, tuple[int, float]],
    frozenset[str],
    Literal["a", 1],
    Cents,
    Annotated[int, Field(gt=0)],
    Colour,
    datetime.datetime,
    uuid.UUID,
    Frozen,
    FrozenModel,
    Note,
    ActorRef,
    tuple[Note | Frozen, ...],
    tuple[()],
    ExitReason,
    FrozenTree,
]

MUTABLE = [
    (list[int], "list[int]"),
    (dict[str, int], "dict[str, int]"),
    (set[int], "set[int]"),
    (bytearray, "bytearray"),
    (tuple[int, list[str]], "list[str]"),
    (frozenset[int] | dict[str, str], "dict[str, str]"),
    (Annotated[list[int], Field(min_length=1)], "list[int]"),
    (Melting, "Melting"),
    (FrozenShell, "FrozenShell"),
    (OpenModel, "OpenModel"),
    (FrozenOverOpen, "FrozenOverOpen"),
    (Plain, "Plain"),
    (Any, "Any"),
    (object, "object"),
    (tuple, "what a tuple of no named type holds"),
    (frozenset, "what a frozenset of no named type holds"),
    (vars(typing)["Tuple"], "what a Tuple of no named type holds"),
    (vars(typing)["FrozenSet"], "what a FrozenSet of no named type holds"),
    (MeltingTree, "MeltingTree"),
]


@pytest.mark.parametrize("annotation", IMMUTABLE, ids=str)
def test_a_field_that_nobody_can_change_is_accepted(annotation: Any) -> None:
    assert mutable_part(annotation) is None


@pytest.mark.parametrize(("annotation", "part"), MUTABLE, ids=[str(annotation) for annotation, _ in MUTABLE])
def test_a_field_that_could_be_changed_is_named(annotation: Any, part: str) -> None:
    assert mutable_part(annotation) == part


def test_a_message_with_a_mutable_field_is_refused_when_it_is_defined() -> None:
    with pytest.raises(InvalidMessage, match=r"Basket\.items is declared list\[str\].*use tuple\[…\]"):

        class Basket(Message):  # pyright: ignore[reportUnusedClass]
            items: list[str]


class Unknown:
    """Of which pydantic knows nothing."""


class Sealed(Unknown):
    __regrow_immutable__ = True


def test_a_message_with_a_field_of_a_plain_class_is_refused_with_the_mend() -> None:
    with pytest.raises(
        InvalidMessage, match=r"Basket\.item is declared Unknown.*a frozen dataclass or another Message"
    ):

        class Basket(Message):  # pyright: ignore[reportUnusedClass]
            item: Unknown

    with pytest.raises(InvalidMessage, match=r"Case has a field whose values pydantic can not check: Unable"):

        class Case(Message):  # pyright: ignore[reportUnusedClass]
            item: Sealed


def test_a_mutable_field_of_a_parent_class_is_found_in_the_child() -> None:
    with pytest.raises(InvalidMessage, match=r"Child\.more is declared dict"):

        class Child(Note):  # pyright: ignore[reportUnusedClass]
            more: dict[str, str] = {}


def test_a_message_can_not_be_changed() -> None:
    note = Note(n=1)

    with pytest.raises(ValidationError, match="frozen"):
        note.n = 2


@pytest.mark.parametrize("name", ["copy", "wire", "model_fields_set"])
def test_a_field_that_would_hide_a_part_of_every_message_is_refused(name: str) -> None:
    told = rf"every message has a '{name}' of its own; rename it"

    with pytest.warns(UserWarning, match="shadows an attribute"), pytest.raises(InvalidMessage, match=told):
        create_model("Hiding", __base__=Message, **{name: (str, ...)})  # type: ignore[call-overload]


def test_a_field_that_is_not_declared_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Note(n=1, m=2)  # type: ignore[call-arg]


def test_a_forward_reference_is_checked_on_first_use_when_it_hides_a_list() -> None:
    module = _module_with(
        "class Tree(Message):\n    leaves: 'tuple[Leaf, ...]'\n\nclass Leaf(Message):\n    n: int = 0\n"
        "class Late(Message):\n    parts: 'Parts'\n\nParts = list[int]\n"
    )

    assert module.Tree.wire().fields == ("leaves",)
    with pytest.raises(InvalidMessage, match=r"Late\.parts is declared list\[int\]"):
        module.Late.wire()


@virtual
async def test_a_message_whose_forward_reference_hides_a_list_is_refused_when_it_is_sent_in_one_process() -> None:
    module = _module_with("class Late(Message):\n    parts: 'Parts'\n\nParts = list[int]\n")
    clerk = await Process().start("clerk")

    with pytest.raises(InvalidMessage, match=r"Late\.parts is declared list\[int\]"):
        clerk.tell_nowait(module.Late(parts=[1]))


class Box(Message, Generic[T]):
    held: T


def test_a_generic_message_is_checked_when_it_is_given_its_type() -> None:
    with pytest.raises(InvalidMessage, match=r"Box\[list\[int\]\]\.held is declared list\[int\]"):
        Box[list[int]]


def test_a_message_may_hold_its_own_class() -> None:
    module = _module_with("class Node(Message):\n    below: 'tuple[Node, ...]' = ()\n")

    assert module.Node(below=(module.Node(),)).below == (module.Node(),)
    assert module.Node.wire().name.endswith(":Node")


def test_a_message_is_found_by_its_wire_name() -> None:
    assert wire_name(Note) == "tests.runtime.scripted:Note"
    assert registered("tests.runtime.scripted:Note") is Note
    assert registered("tests.runtime.scripted:Nobody") is None


def test_a_bare_request_type_is_no_message_of_its_own() -> None:
    assert registered(wire_name(Request[str])) is None


@pytest.mark.parametrize(
    ("spec", "file", "name"),
    [
        ("shop.desk", "/app/shop/desk.py", "shop.desk"),
        (None, "/app/desk.py", "desk"),
        (None, None, "__main__"),
    ],
    ids=["python -m", "a script", "typed in"],
)
def test_main_is_known_by_the_name_that_others_can_import(
    spec: str | None, file: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    main.__spec__ = types.SimpleNamespace(name=spec) if spec is not None else None  # type: ignore[assignment]
    if file is not None:
        main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)

    assert importable_module("__main__") == name
    assert importable_module("other") == "other"


@pytest.mark.parametrize(
    ("annotation", "plain"),
    [
        (int, True),
        (str | None, True),
        (tuple[int, ...], True),
        (Literal["a"], True),
        (Cents, True),
        (Literal[Colour.RED], False),
        (datetime.date, False),
        (Note, False),
        (tuple[Note, ...], False),
    ],
    ids=str,
)
def test_plain_is_what_msgpack_gives_back_exactly(annotation: Any, plain: bool) -> None:
    assert is_plain(annotation) is plain


def test_a_type_is_shown_as_its_author_wrote_it() -> None:
    assert [shown(kind) for kind in (int, tuple[int, ...], str | None)] == ["int", "tuple[int, ...]", "str | None"]


# ---- replies -------------------------------------------------------------------------------------


class Narrow(Echo):
    pass


class Price(Request[Cents]):
    pass


class Found(Request[Note | None]):
    pass


class Silent(Request[None]):
    pass


class Many(Request[tuple[int, ...]]):
    pass


class Open(Request[Any]):
    pass


@pytest.mark.parametrize(
    ("request_class", "good", "bad"),
    [
        (Echo, "text", 1),
        (Narrow, "text", None),
        (Price, 5, "5"),
        (Found, None, "none"),
        (Found, Note(), 0),
        (Silent, None, 0),
        (Many, (1, 2), [1, 2]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value),
)
def test_a_reply_must_be_of_the_declared_type(request_class: type[Request[Any]], good: object, bad: object) -> None:
    assert request_class.reply().accepts(good)
    assert not request_class.reply().accepts(bad)


def test_a_request_that_leaves_its_reply_open_takes_any() -> None:
    assert Open.reply().accepts(object())


def test_a_reply_is_rebuilt_from_what_came_over_the_wire() -> None:
    assert Many.reply().read((1, 2)) == (1, 2)
    assert Found.reply().read(Note(n=3)) == Note(n=3)
    with pytest.raises(ValidationError):
        Many.reply().read("no numbers")


class Later(Request["Told"]):
    """Its reply is defined further down."""


class Told(Note):
    pass


class Latest(Later):
    pass


class Never(Request["Nowhere"]):  # type: ignore[name-defined]
    pass


def test_a_reply_may_be_named_before_it_is_defined() -> None:
    assert Later.reply().accepts(Told(n=1)) and not Later.reply().accepts(Note(n=1))
    assert Latest.reply().accepts(Told(n=1))


def test_a_reply_whose_name_means_nothing_is_refused_with_where_to_define_it() -> None:
    with pytest.raises(InvalidMessage, match=r'Never is a Request\["Nowhere"\], and .*test_message has no such type'):
        Never.reply()


def test_a_request_that_names_no_reply_is_refused() -> None:
    nameless = create_model("Nameless", __base__=Request)

    with pytest.raises(InvalidMessage, match=r"does not name its reply; write class Nameless\(Request\[Reply\]\)"):
        reply_type(nameless)


def test_a_reply_is_shown_as_it_was_declared() -> None:
    assert (str(Echo.reply()), str(Found.reply())) == ("str", "tests.runtime.scripted.Note | None")


# ---- exit reasons are messages -------------------------------------------------------------------


def test_exit_reasons_are_values_that_compare_and_hash() -> None:
    one, same = (Crashed(type_name="Boom", message="no", traceback="…") for _ in range(2))
    reasons = [one, same, Normal(), Normal(), Killed(detail="limit"), Killed()]

    assert one == same
    assert len(set(map(hash, reasons))) == 4


def _module_with(text: str) -> Any:
    """A module of its own, since names in annotations are looked up in the module that defines the class."""
    name = f"tests_runtime_forward_{abs(hash(text))}"
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec("from regrow.runtime.message import Message\n" + text, module.__dict__)
    return module
