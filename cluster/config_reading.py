"""Reads the settings of a process: `regrow.toml` in the current folder, and REGROW_… variables.

The environment wins over the file. `REGROW_REDIS__URL` is `url` in the section `[redis]`. A key that
nobody reads is an error, wherever it stands: a setting that is misspelt must not be silently without
effect. Values of secrets appear in no text of this module.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Set
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from regrow.cluster.config import FILE_NAME, INTERNAL_PREFIX, Settings
from regrow.cluster.errors import ConfigError
from regrow.router.errors import InvalidSettings
from regrow.router.settings import from_environment

PREFIX = "REGROW_"
DELIMITER = "__"

BUDGET_VARIABLE = "REGROW_BUDGET_USD"
MODEL_VARIABLES = ("REGROW_SMALL_MODEL", "REGROW_LARGE_MODEL")
"""Short names that `regrow.router` reads where no [models.…] names the models."""

VALUE_LIMIT_CHARS = 120
"""A wrong value is shown up to this length."""

_TIERS = frozenset({"small", "large"})


def read_settings(config: Path | None) -> Settings:
    """As `Settings.load` says."""
    path = config if config is not None else Path(FILE_NAME)
    in_file = _read(path, must_exist=config is not None)
    in_env = _from_variables(os.environ)
    merged = _merged(in_file, in_env)
    models = merged.setdefault("models", {})
    if isinstance(models, dict):  # else it is wrong, which the validation below says
        _complete_models(models, str(path))
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise _explained(error.errors(include_url=False)[0], in_env, str(path)) from error


def _read(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"there is no config file {path}; check --config", source=str(path)) from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML ({error}); correct it", source=str(path)) from error
    except OSError as error:
        raise ConfigError(
            f"{path} can not be read ({error.strerror}); put a file there, or name one with --config", source=str(path)
        ) from error


def _from_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, nested like the file; an empty variable says nothing.

    Raises ConfigError for a REGROW_… variable that nobody reads.
    """
    known = {_variable(place): place for place, _ in _places(Settings)}
    short = {BUDGET_VARIABLE, *MODEL_VARIABLES}
    found: dict[str, Any] = {}
    # Whole sections first: a variable for one key of a section wins over one for all of it.
    for name in sorted(environment, key=len):
        plain = name.upper()
        if not plain.startswith(PREFIX) or plain.startswith(INTERNAL_PREFIX) or plain in short:
            continue
        if plain not in known:
            advice = _nearest_variable(plain, known.keys() | short)
            raise ConfigError(f"the environment sets {name}, which is no setting; {advice}", source=name)
        if value := environment[name]:
            place = known[plain]
            found = _merged(found, _nested(place, _section(name, value) if _is_section(place) else value))
    budget = environment.get(BUDGET_VARIABLE)
    return _merged({"models": {"budget_usd": budget}}, found) if budget else found


def _nested(place: tuple[str, ...], value: object) -> dict[str, Any]:
    key, *inner = place
    return {key: _nested(tuple(inner), value) if inner else value}


def _section(name: str, value: str) -> object:
    """A whole section in one variable must be JSON; hardly anybody means to do that."""
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(
            f"{name} is a whole section and holds no JSON object ({error}); "
            f"set one key each, such as {_variable(('redis', 'url'))}",
            source=name,
        ) from error


def _nearest_variable(name: str, known: Set[str]) -> str:
    """Advice for an unknown variable: the one of its section that is most like it, or all that are there."""
    section = name
    while section and not any(each.startswith(f"{section}{DELIMITER}") for each in known):
        section = section.rpartition(DELIMITER)[0]
    above = f"{section}{DELIMITER}" if section else PREFIX
    # What all have in common is not compared: with it, every name would be like every other.
    inside = sorted(each.removeprefix(above) for each in known if each.startswith(above))
    if near := get_close_matches(name.removeprefix(above), inside, n=1):
        is_section = f"{near[0]}{DELIMITER}" in {each[: len(near[0]) + len(DELIMITER)] for each in inside}
        return f"did you mean {above}{near[0]}{f'{DELIMITER}…' if is_section else ''}?"
    sections = {key for key, dots, _ in (each.partition(DELIMITER) for each in inside) if dots}
    shown = sections | {each for each in inside if DELIMITER not in each}
    listed = (f"{above}{key}{DELIMITER}…" if key in sections else f"{above}{key}" for key in sorted(shown))
    return f"known here: {', '.join(listed)}"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merged(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged


def _complete_models(models: dict[str, Any], file: str) -> None:
    """Takes the tiers from the environment's short names when nothing else names one."""
    if not _TIERS & models.keys():
        try:
            short = from_environment(os.environ)
        except InvalidSettings as error:
            raise ConfigError(str(error), source="environment", key="models") from error
        models.update({"small": short.small, "large": short.large})
        return
    for name in MODEL_VARIABLES:
        # Either could be meant to win, and guessing wrong may cost money.
        if os.environ.get(name):
            tier = name.removeprefix(PREFIX).removesuffix("_MODEL").lower()
            raise ConfigError(
                f"{name} and [models] of {file} both name models; "
                f"unset it, or set {_variable(('models', tier, 'model'))} to override the file",
                source=name,
                key=f"models.{tier}.model",
            )


def _explained(error: ErrorDetails, in_env: Mapping[str, Any], file: str) -> ConfigError:
    """One sentence on the first thing that is wrong: where it stands, what it is, what to write."""
    place = tuple(str(part) for part in error["loc"])
    key = ".".join(place)
    source = _source(place, in_env, file)
    match error["type"]:
        case "extra_forbidden":
            return ConfigError(f"{source}: unknown key {key!r}; {_nearest(place)}", source=source, key=key)
        case "model_type" | "model_attributes_type":
            keys = _keys_of(place)
            how = f"write [{key}] and its keys below it" if source == file else f"set one key, as {_variable(keys[0])}"
            text = f"{source}: {key} is a section; {how}"
        case "value_error":
            text = f"{source}: {key} can not be used: {error['msg'].removeprefix('Value error, ')}"
        case _:
            told = error["msg"].replace("Input should be", "it should be")
            text = f"{source}: {key} is {_shown(place, error['input'])}; {told}"
    return ConfigError(text, source=source, key=key)


def _source(place: tuple[str, ...], in_env: Mapping[str, Any], file: str) -> str:
    """The variable that set what stands at `place`, or else the file."""
    value: Any = in_env
    for part in place:
        if not isinstance(value, Mapping) or part not in value:
            return file
        value = value[part]
    # A variable may hold a whole section, so the longest name that is set is the one.
    names = {name.upper(): name for name in os.environ}
    candidates = [_variable(place[:length]) for length in range(len(place), 0, -1)]
    found = next((names[name] for name in candidates if name in names), None)
    return found or (BUDGET_VARIABLE if place == ("models", "budget_usd") else file)


def _nearest(place: tuple[str, ...]) -> str:
    """Advice for an unknown key: the one that is most like it, there or in another section."""
    *section, name = place
    known = {".".join(each): each[-1] for each, _ in _places(Settings)}
    inside = {each[-1]: ".".join(each) for each, _ in _places(Settings) if list(each[:-1]) == section}
    if near := get_close_matches(name, inside, n=1):
        return f"did you mean {inside[near[0]]!r}?"
    if elsewhere := [key for key, last in known.items() if last == name]:
        return f"did you mean {elsewhere[0]!r}?"
    return f"known here: {', '.join(inside)}"


def _shown(place: tuple[str, ...], value: object) -> str:
    """The value as it was written, unless it is a secret."""
    types = next((types for each, types in _places(Settings) if each == place), ())
    if SecretStr in types:
        return "set to something that can not be read"
    text = repr(value)
    return text if len(text) <= VALUE_LIMIT_CHARS else text[:VALUE_LIMIT_CHARS] + "…"


def _places(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[Any, ...]]]:
    """Every section and key there is, with the types that its value may have."""
    for name, field in model.model_fields.items():
        types = get_args(field.annotation) or (field.annotation,)
        yield (*above, name), types
        for each in types:
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from _places(each, (*above, name))


def _is_section(place: tuple[str, ...]) -> bool:
    return bool(_keys_of(place))


def _keys_of(section: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The keys of a section; none where `section` is a key itself."""
    return [each for each, _ in _places(Settings) if each[:-1] == section]


def _variable(place: tuple[str, ...]) -> str:
    return PREFIX + DELIMITER.join(place).upper()
