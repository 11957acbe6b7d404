"""Settings: what wins, what is refused, and that no secret shows."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from regrow.cluster.config import Settings
from regrow.cluster.errors import ConfigError
from regrow.router.settings import ProviderName, RouterSettings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("REGROW_", "OPENAI_")):
            monkeypatch.delenv(name)
    return tmp_path


def write(folder: Path, text: str, name: str = "regrow.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(config: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Settings.load(config)
    return caught.value


def test_without_file_and_environment_there_are_defaults(folder: Path) -> None:
    settings = Settings.load()

    assert (settings.engine, settings.redis.url, settings.redis.appendfsync) == ("inline", None, "always")
    assert (settings.log.level, settings.log.format) == ("info", "console")
    assert (settings.memory.store, settings.ray.address, settings.ray.num_cpus) == ("redis", None, None)
    assert settings.models == RouterSettings()
    assert settings.data_dir_of("desk") == folder / ".regrow" / "desk"


def test_the_file_in_the_current_folder_is_read(folder: Path) -> None:
    paths = 'data_dir = "kept"\nskills_dir = "shared"\n'
    write(folder, f'engine = "ray"\n{paths}[redis]\nurl = "redis://db:6379/0"\n[ray]\nnum_cpus = 2\n')

    settings = Settings.load()

    assert (settings.engine, settings.ray.num_cpus) == ("ray", 2)
    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == "redis://db:6379/0"
    assert settings.data_dir_of("desk") == folder / "kept"
    assert settings.skills_folder == folder / "shared"


def test_another_file_is_read_in_its_place(folder: Path) -> None:
    write(folder, 'engine = "inline"')
    other = write(folder, 'engine = "ray"', name="other.toml")

    assert Settings.load(other).engine == "ray"


def test_the_environment_wins_key_by_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, '[log]\nlevel = "debug"\nformat = "json"\n')
    monkeypatch.setenv("REGROW_LOG__LEVEL", "error")

    settings = Settings.load()

    assert (settings.log.level, settings.log.format) == ("error", "json")


def test_an_empty_variable_counts_as_unset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'engine = "ray"')
    monkeypatch.setenv("REGROW_ENGINE", "")

    assert Settings.load().engine == "ray"


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_ENGINE", "ray")

    assert Settings(engine="inline").engine == "inline"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('enginee = "ray"', "regrow.toml: unknown key 'enginee'; did you mean 'engine'?"),
        ("[redis]\nurll = 1", "regrow.toml: unknown key 'redis.urll'; did you mean 'redis.url'?"),
        ("[reddis]\nurl = 1", "regrow.toml: unknown key 'reddis'; did you mean 'redis'?"),
        ('appendfsync = "always"', "regrow.toml: unknown key 'appendfsync'; did you mean 'redis.appendfsync'?"),
        (
            "[models.small]\nbaseurl = 1",
            "regrow.toml: unknown key 'models.small.baseurl'; did you mean 'models.small.base_url'?",
        ),
        ("[ray]\nxyz = 1", "regrow.toml: unknown key 'ray.xyz'; known here: address, num_cpus"),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_the_nearest_one(folder: Path, text: str, said: str) -> None:
    write(folder, text)

    assert str(refusal()) == said


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("REGROW_ENGIN", "REGROW_ENGINE"),
        ("REGROW_REDIS_URL", "REGROW_REDIS__URL"),
        ("REGROW_REDSI", "REGROW_REDIS__…"),
        ("REGROW_REDIS__URLL", "REGROW_REDIS__URL"),
        ("REGROW_MODELS__SMALL__MODLE", "REGROW_MODELS__SMALL__MODEL"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, name: str, near: str
) -> None:
    monkeypatch.setenv(name, "x")

    assert str(refusal()) == f"the environment sets {name}, which is no setting; did you mean {near}?"


def test_a_section_that_is_set_by_one_variable_is_told_which_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_REDIS", "1")

    assert "REGROW_REDIS: redis is a section; set one key, as REGROW_REDIS__URL" in str(refusal())


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (
            "REGROW_FOO",
            (
                "REGROW_BUDGET_USD, REGROW_DATA_DIR, REGROW_ENGINE, REGROW_GUARDS__…, REGROW_HISTORY__…, "
                "REGROW_INCIDENTS__…, REGROW_LARGE_MODEL, REGROW_LOG__…, REGROW_MEMORY__…, REGROW_METRICS__…, "
                "REGROW_MODELS__…, REGROW_RAY__…, REGROW_REDIS__…, REGROW_SKILLS_DIR, REGROW_SMALL_MODEL, "
                "REGROW_TRACING__…"
            ),
        ),
        ("REGROW_RAY__FOO", "REGROW_RAY__ADDRESS, REGROW_RAY__NUM_CPUS"),
    ],
)
def test_a_variable_like_no_other_is_answered_with_those_of_its_section(
    monkeypatch: pytest.MonkeyPatch, name: str, known: str
) -> None:
    monkeypatch.setenv(name, "1")

    assert str(refusal()) == f"the environment sets {name}, which is no setting; known here: {known}"


def test_a_variable_of_regrows_own_processes_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_INTERNAL_HOST", "7")

    assert Settings.load() == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('engine = "rai"', "regrow.toml: engine is 'rai'; it should be 'inline' or 'ray'"),
        ("[ray]\nnum_cpus = 0", "regrow.toml: ray.num_cpus is 0; it should be greater than or equal to 1"),
        ("[redis]\nappendfsync = []", "regrow.toml: redis.appendfsync is []; it should be 'always' or 'everysec'"),
        ('redis = "here"', "regrow.toml: redis is a section; write [redis] and its keys below it"),
        ("models = 3", "regrow.toml: models is a section; write [models] and its keys below it"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_the_value(folder: Path, text: str, said: str) -> None:
    write(folder, text)

    assert str(refusal()) == said


def test_a_wrong_value_of_a_variable_is_told_with_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "[ray]\nnum_cpus = 2")
    monkeypatch.setenv("REGROW_RAY__NUM_CPUS", "two")

    error = refusal()

    assert str(error).startswith("REGROW_RAY__NUM_CPUS: ray.num_cpus is 'two'; it should be a valid integer")
    assert (error.source, error.key) == ("REGROW_RAY__NUM_CPUS", "ray.num_cpus")


def test_an_enormous_wrong_value_is_shown_cut(folder: Path) -> None:
    write(folder, f'engine = "{"x" * 10_000}"')

    assert len(str(refusal())) < 300


def test_a_section_in_one_variable_must_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_REDIS", "redis://:secret@db")

    error = refusal()

    assert "REGROW_REDIS__URL" in str(error)
    assert "secret" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("text", "said"),
    [("engine = ", "is no valid TOML (Invalid value (at end of document))"), ("engine = 1\nx y = 2\n", "line 2")],
)
def test_a_file_that_is_no_toml_is_told_with_the_place(folder: Path, text: str, said: str) -> None:
    write(folder, text)

    assert said in str(refusal())


def test_a_file_that_was_named_must_be_there(folder: Path) -> None:
    assert str(refusal(Path("none.toml"))) == "there is no config file none.toml; check --config"


def test_a_folder_or_binary_in_place_of_the_file_is_one_sentence(folder: Path) -> None:
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")

    assert "can not be read (Is a directory)" in str(refusal(folder))
    assert "is no valid TOML" in str(refusal(folder / "binary.toml"))


@pytest.mark.parametrize(
    "text",
    [
        '[redis]\nurl = ["redis://:secret@db"]',
        'redis = "redis://:secret@db"',
        '[redis]\nurl = "redis://:secret@db"\nprt = 1',
        '[models.small]\napi_key = "secret"',
    ],
)
def test_an_error_shows_no_secret_not_even_in_its_traceback(folder: Path, text: str) -> None:
    write(folder, text)

    assert "secret" not in "".join(traceback.format_exception(refusal()))


def test_settings_show_no_secret(folder: Path) -> None:
    write(folder, '[redis]\nurl = "redis://:secret@db"')

    settings = Settings.load()

    assert "secret" not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"


# Models: the file or its variables, else OPENAI_BASE_URL and its relatives.


def test_models_of_the_file_are_used(folder: Path) -> None:
    write(folder, '[models]\nbudget_usd = 2.5\n[models.small]\nprovider = "openai"\nmodel = "tiny"\n')

    models = Settings.load().models

    assert models.small is not None
    assert (models.small.provider, models.small.model) == (ProviderName.OPENAI, "tiny")
    assert models.budget_usd == 2.5


def test_an_address_in_the_environment_names_models_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("REGROW_SMALL_MODEL", "tiny")

    models = Settings.load().models

    assert models.small is not None
    assert (models.small.provider, models.small.model) == (ProviderName.OPENAI, "tiny")


def test_models_of_the_file_win_over_an_address_that_lies_around(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, '[models.small]\nprovider = "extractive"')
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    assert Settings.load().models.is_extractive


def test_models_named_twice_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, '[models.small]\nprovider = "openai"\nmodel = "tiny"\n')
    monkeypatch.setenv("REGROW_SMALL_MODEL", "other")

    assert "set REGROW_MODELS__SMALL__MODEL to override the file" in str(refusal())


def test_the_budget_variable_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, '[models]\nbudget_usd = 2\n[models.small]\nprovider = "extractive"\n')
    monkeypatch.setenv("REGROW_BUDGET_USD", "0.5")

    assert Settings.load().models.budget_usd == 0.5


@pytest.mark.parametrize("text", ["", '[models.small]\nprovider = "extractive"\n'])
def test_a_wrong_budget_is_told_with_its_variable(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    write(folder, text)
    monkeypatch.setenv("REGROW_BUDGET_USD", "lots")

    assert "REGROW_BUDGET_USD" in str(refusal())


def test_models_that_do_not_fit_together_are_told_in_their_own_words(folder: Path) -> None:
    write(folder, '[models.large]\nprovider = "openai"\n')

    assert str(refusal()).startswith('regrow.toml: models.large can not be used: provider "openai" needs a model')
