"""A new app: its files are there, its config is valid, and nothing is overwritten."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from regrow.cluster.config import Settings
from regrow.cluster.scaffold import make_app
from regrow.runtime.errors import Misuse, WorldBroke


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("REGROW_", "OPENAI_")):
            monkeypatch.delenv(name)


def test_a_new_app_has_code_test_config_and_readme(tmp_path: Path) -> None:
    files = make_app("shop", tmp_path)

    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "shop/shop.py",
        "shop/test_shop.py",
        "shop/regrow.toml",
        "shop/README.md",
    ]
    for file in files:
        assert "{" not in re.sub(r'f"hello \{name\}"', "", file.read_text()), "a placeholder was left"
        if file.suffix == ".py":
            compile(file.read_text(), file, "exec")


def test_the_config_says_the_defaults(tmp_path: Path) -> None:
    make_app("shop", tmp_path)

    assert Settings.load(tmp_path / "shop/regrow.toml") == Settings.load()


def test_every_line_of_the_config_may_be_taken_as_it_stands(tmp_path: Path) -> None:
    make_app("shop", tmp_path)
    config = tmp_path / "shop/regrow.toml"
    lines = [re.sub(r"^# (?=[a-z_]+ = |\[)", "", line) for line in config.read_text().splitlines()]
    config.write_text("\n".join(lines))

    settings = Settings.load(config)

    plain = Settings()
    assert (settings.engine, settings.log, settings.memory) == (plain.engine, plain.log, plain.memory)
    assert settings.redis.appendfsync == plain.redis.appendfsync
    assert None not in (settings.redis.url, settings.ray.address, settings.ray.num_cpus, settings.data_dir)
    assert settings.models.large is not None
    assert settings.models.large.model == "gpt-4.1"


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()

    with pytest.raises(Misuse, match="is there already, and nothing is overwritten"):
        make_app("shop", tmp_path)

    assert list((tmp_path / "shop").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("my-shop", "such as my_shop"),
        ("../shop", "such as shop"),
        ("2shop", "such as desk"),
        ("", "such as desk"),
        ("class", "such as desk"),
        ("json", "try json_app"),
        ("regrow", "try regrow_app"),
    ],
)
def test_a_name_that_can_not_be_imported_is_refused_with_another(tmp_path: Path, name: str, advice: str) -> None:
    with pytest.raises(Misuse, match=advice):
        make_app(name, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorldBroke, match="can not be written"):
        make_app("shop", tmp_path / "missing")


def test_half_an_app_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def full(path: Path, text: str, encoding: str) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.touch()
        return 0

    monkeypatch.setattr(Path, "write_text", full)

    with pytest.raises(WorldBroke, match="No space left"):
        make_app("shop", tmp_path)

    assert len(written) == 1
    assert list(tmp_path.iterdir()) == []
