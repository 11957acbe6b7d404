"""How a skill is read from its folder, and what is refused (SEMANTICS 10)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regrow.actors.skill import MAX_FILE_BYTES, SkillName, skill_name, skill_names
from regrow.actors.skill_errors import InvalidSkill, SkillOutside, UnknownSkill
from regrow.actors.skill_folder import MAX_FILES, MAX_INSTRUCTIONS_BYTES, read_head, read_skill_folder
from tests.actors.skill_shelf import shelve


def test_a_skill_has_a_name_a_version_a_description_instructions_and_the_tools_that_it_declares(tmp_path: Path) -> None:
    skill = read_skill_folder(shelve(tmp_path))

    assert skill.name == SkillName("refunds", "1.2")
    assert skill.description == "How to pay\n  money back."
    assert skill.instructions == "# refunds 1.2\n\nAsk first."
    assert list(skill.tools) == ["find_order", "refund"], "and not delete_order, which its module has as well"


def test_a_skill_may_have_no_code_at_all(tmp_path: Path) -> None:
    folder = shelve(tmp_path, tools="[]", code="raise RuntimeError('not imported, for nothing of it is wanted')")

    assert read_skill_folder(folder).tools == {}


def test_what_a_skill_says_of_itself_is_read_without_running_its_code(tmp_path: Path) -> None:
    head, name, _ = read_head(shelve(tmp_path, code="raise RuntimeError"))

    assert (str(name), head["tools"]) == ("refunds@1.2", ["find_order", "refund"])


def test_several_versions_stand_in_folders_that_say_so(tmp_path: Path) -> None:
    assert read_skill_folder(shelve(tmp_path, folder="refunds@1.2")).name.version == "1.2"


# ---- what is refused -----------------------------------------------------------------------------


def rewritten(text: str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        folder = shelve(place)
        (folder / "SKILL.md").write_text(text, "utf-8")
        return folder

    return make


HEAD = '+++\nname = "refunds"\nversion = "1.2"\ndescription = "Pays."\n'


NO_DOCSTRING = "from regrow import tool\n@tool\ndef f(x): ..."


def without_instructions(place: Path) -> Path:
    folder = shelve(place)
    (folder / "SKILL.md").unlink()
    return folder


def too_long(place: Path) -> Path:
    folder = shelve(place)
    with (folder / "SKILL.md").open("a", encoding="utf-8") as file:
        file.write("x" * MAX_INSTRUCTIONS_BYTES)
    return folder


def not_text(place: Path) -> Path:
    folder = shelve(place)
    (folder / "SKILL.md").write_bytes(b"+++\n\xff\n+++\n")
    return folder


def too_many_files(place: Path) -> Path:
    folder = shelve(place)
    (folder / "more").mkdir()
    for number in range(MAX_FILES):
        (folder / "more" / str(number)).touch()
    return folder


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (without_instructions, r"there is no file .*refunds/SKILL.md; a skill has its instructions there"),
        (rewritten("# How to pay"), r"SKILL.md has no head; begin it with lines of TOML between two lines \+\+\+"),
        (rewritten("---\nname: refunds\n---\nPay."), r"SKILL.md has no head; begin it with lines of TOML"),
        (rewritten("+++\nname = refunds\n+++\nPay."), r"the head of .* is no valid TOML \(.*\); correct it"),
        (rewritten(HEAD + "+++\n \n"), "has no instructions below its head"),
        (rewritten(HEAD + 'tool = ["x"]\n+++\nPay.'), "has 'tool', which is no key; it has name, version, description"),
        (
            rewritten(HEAD.replace('"1.2"', "1.2") + "+++\nPay."),
            'version = 1.2; give one as a text, such as version = "1.0',
        ),
        (rewritten(HEAD.replace('version = "1.2"\n', "") + "+++\nPay."), "version = None; give one as a text"),
        (rewritten(HEAD.replace('"refunds"', '"../up"') + "+++\nPay."), r"name = '\.\./up'; give small letters"),
        (
            rewritten(HEAD.replace("refunds", "others") + "+++\nPay."),
            "is of the skill 'others' and stands in the folder",
        ),
        (rewritten(HEAD.replace("Pays.", "x" * 1_025) + "+++\nPay."), "needs a description of up to 1,024 signs"),
        (rewritten(HEAD + "tools = [1]\n+++\nPay."), "tools = .1.; give their names"),
        (too_long, "has more than 65,536 bytes; put what is not always needed into files"),
        (not_text, "can not be read"),
        (too_many_files, "holds more than 1,000 files; a skill is small"),
        (lambda place: shelve(place, code=""), "declares the tools find_order, refund, and has no .*tools.py"),
        (lambda place: shelve(place, tools='["pay"]'), "declares the tool 'pay', and .* has no @tool of that name"),
        (lambda place: shelve(place, code="raise SystemExit(3)"), r"tools.py can not be imported \(SystemExit: 3\)"),
        (lambda place: shelve(place, code="import besides"), r"imported with a dot: from .other import"),
        (lambda place: shelve(place, code="1 / 0"), r"tools.py can not be imported \(ZeroDivisionError: division"),
        (
            lambda place: shelve(place, code="from regrow import tool\n@tool\ndef f(x): ..."),
            r"\(InvalidTool: f has no doc",
        ),
    ],
)
def test_a_skill_that_could_not_work_is_refused_with_the_place(
    make: Callable[[Path], Path], told: str, tmp_path: Path
) -> None:
    folder = make(tmp_path)

    with pytest.raises(InvalidSkill, match=told):
        read_skill_folder(folder)


def test_its_tools_may_use_what_stands_beside_them(tmp_path: Path) -> None:
    folder = shelve(tmp_path, name="priced", tools='["f"]', code="from .prices import f")
    price = "from regrow import tool\n@tool\ndef f(x: int) -> int:\n    'Says a price.'\n    return x"
    (folder / "prices.py").write_text(price)

    assert read_skill_folder(folder).tools["f"].description == "Says a price."

    (folder / "prices.py").write_text(price.replace("a price", "another one"))
    assert read_skill_folder(folder).tools["f"].description == "Says another one.", "nothing of the first is left"


@pytest.mark.parametrize(("mark", "blank"), [("\ufeff", ""), ("", " \t")])
def test_a_mark_or_a_blank_that_an_editor_leaves_does_no_harm(mark: str, blank: str, tmp_path: Path) -> None:
    folder = rewritten(f"{mark}{HEAD}+++{blank}\nPay.")(tmp_path)

    assert read_skill_folder(folder).instructions == "Pay."


def test_a_module_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(sys.modules)
    folder = shelve(tmp_path, name="broken", code="from . import fine\n1 / 0")
    (folder / "fine.py").touch()

    with pytest.raises(InvalidSkill) as failed:
        read_skill_folder(folder)

    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert not {name for name in set(sys.modules) - before if name.startswith("regrow_skill")}


def linked(inner: str, target: str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        (place / "secret.md").write_text("42", "utf-8")
        folder = shelve(place / "shelf")
        if (folder / inner).exists():
            (folder / inner).unlink()
        (folder / inner).symlink_to(target)
        return folder

    return make


def linked_folder(place: Path) -> Path:
    elsewhere = shelve(place / "elsewhere")
    (place / "shelf").mkdir()
    (place / "shelf" / "refunds").symlink_to(elsewhere)
    return place / "shelf" / "refunds"


@pytest.mark.parametrize(
    "make",
    [
        linked("rates.md", "../../secret.md"),
        linked("tools.py", "../../secret.md"),
        linked("SKILL.md", "../../secret.md"),
        linked("more", "/etc"),
        linked("ring", "ring"),
        linked_folder,
    ],
    ids=["a text", "its code", "its instructions", "a folder", "a ring", "itself"],
)
def test_a_link_out_of_the_folder_is_refused_before_anything_is_read(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = make(tmp_path)

    with pytest.raises(SkillOutside, match=r"leads to .*; put the (file|skill) itself there"):
        read_skill_folder(folder)


def test_a_link_inside_of_the_folder_does_no_harm(tmp_path: Path) -> None:
    folder = shelve(tmp_path)
    (folder / "again.md").symlink_to("SKILL.md")

    assert read_skill_folder(folder).file("again.md").startswith("+++")


# ---- files beside the instructions ---------------------------------------------------------------


def test_files_beside_the_instructions_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    folder = shelve(tmp_path)
    skill = read_skill_folder(folder)
    (folder / "references").mkdir()
    (folder / "references" / "rates.md").write_text("2 %", "utf-8")

    assert skill.files == ("references/rates.md",)
    assert skill.file("references/rates.md") == "2 %"


@pytest.mark.parametrize(
    "path", ["../secret.md", "/etc/passwd", "references/../../secret.md", "none.md", "", "more", "tools.py", ".env"]
)
def test_what_is_outside_of_the_folder_or_no_text_is_no_file_of_the_skill(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("42", "utf-8")
    folder = shelve(tmp_path)
    (folder / "more").mkdir()
    (folder / ".env").write_text("KEY=42", "utf-8")
    skill = read_skill_folder(folder)

    with pytest.raises(UnknownSkill, match=r"refunds@1.2 has no file .*; its files are: none"):
        skill.file(path)


def test_a_link_that_was_put_there_afterwards_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("42", "utf-8")
    folder = shelve(tmp_path)
    skill = read_skill_folder(folder)
    (folder / "rates.md").symlink_to("../secret.md")

    with pytest.raises(UnknownSkill, match=r"has no file 'rates.md'"):
        skill.file("rates.md")


def test_what_is_no_text_or_too_long_is_not_read(tmp_path: Path) -> None:
    folder = shelve(tmp_path)
    (folder / "picture.md").write_bytes(b"\xff")
    (folder / "long.md").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    skill = read_skill_folder(folder)

    with pytest.raises(UnknownSkill, match="is no text"):
        skill.file("picture.md")
    with pytest.raises(UnknownSkill, match="has more than 262,144 bytes"):
        skill.file("long.md")


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    [
        "refunds",
        "refunds@",
        "@1.2",
        "../refunds@1",
        "re funds@1",
        "Refunds@1",
        "refunds@1/2",
        "refunds@..",
        7,
        "a--b@1",
    ],
)
def test_what_names_no_skill_is_refused(label: object) -> None:
    with pytest.raises(InvalidSkill, match=r'names no skill; write its name and its version, as in "refunds@1.2"'):
        skill_name(label)


@pytest.mark.parametrize(
    ("skills", "told"),
    [
        ("refunds@1.2", r"Clerk.skills is 'refunds@1.2'; write a list"),
        (["a@1", "a@2"], "Clerk.skills has a twice"),
        ([f"a{number}@1" for number in range(33)], "has 33 skills, and at most 32"),
    ],
)
def test_a_list_of_skills_that_is_none_is_refused(skills: object, told: str) -> None:
    with pytest.raises(InvalidSkill, match=told):
        skill_names("Clerk", skills)
