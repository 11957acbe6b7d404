"""Whether a value fits a JSON schema that a server has made, in bounded time. Pure.

jsonschema does the work. What could hold up the host is left out: patterns, which can be made to run for ever, and
comparisons of all with all; and each keyword that is applied counts against a limit, since a few references to
themselves make millions of them. What is left out the server checks itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

ARGUMENT_CHECKS = 20_000
"""So many keywords and members are looked at for the arguments of a call, which the loop of their host waits for."""
RESULT_CHECKS = 200_000
"""The same for a result, which a thread looks at."""
MAX_PROBLEMS = 5
LEFT_OUT = ("pattern", "patternProperties", "uniqueItems", "unevaluatedItems", "unevaluatedProperties", "format")

Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


class TakesTooLong(Exception):
    """The value would need more steps than it may."""


class Shape:
    """One JSON schema, ready to check values."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = dict(schema)

    def problems(self, value: object, *, checks: int) -> list[str]:
        """What of a JSON value does not fit, at most MAX_PROBLEMS; nothing where all does.

        `checks` is how many keywords and members are looked at before it is given up.
        """
        from jsonschema import exceptions  # here, since only hosts with tools of MCP servers need it
        from referencing import Registry
        from referencing.exceptions import Unresolvable

        no_sense = (Unresolvable, exceptions.SchemaError, exceptions.UnknownType, *_NO_SENSE)
        try:
            # Without a registry of its own it would fetch what a `$ref` names, from wherever that is.
            validator = _Budget(checks).validator(self._schema)(self._schema, registry=Registry())
            found = list(islice(validator.iter_errors(value), MAX_PROBLEMS))
        except (TakesTooLong, RecursionError):
            return [f"to compare the whole with its schema takes more than {checks:,} steps"]
        except no_sense as error:
            return [f"its schema does not make sense ({type(error).__name__})"]
        return [_told(each) for each in found]

    def why_no_schema(self) -> str | None:
        """What is wrong with the schema itself, so that no value could be checked by it; None where nothing is."""
        from jsonschema import Draft202012Validator, exceptions, validators

        try:
            validators.validator_for(self._schema, default=Draft202012Validator).check_schema(self._schema)
        except exceptions.SchemaError as error:
            return _told(error)
        except (RecursionError, *_NO_SENSE) as error:
            return type(error).__name__
        return None


_NO_SENSE = (TypeError, ValueError, AttributeError, KeyError, ArithmeticError)
"""What jsonschema raises of schemas that are none: it takes them for what they claim to be."""


def _told(problem: Any) -> str:
    where = ".".join(map(str, problem.absolute_path))
    return f"{where[:100]}: {problem.message[:200]}" if where else str(problem.message[:200])


class _Budget:
    def __init__(self, checks: int) -> None:
        self._left = checks

    def validator(self, schema: Mapping[str, Any]) -> Any:
        from jsonschema import Draft202012Validator, validators

        whole: Any = validators.validator_for(schema, default=Draft202012Validator)
        keywords: dict[str, Any] = {
            name: self._counted(check) for name, check in whole.VALIDATORS.items() if name not in LEFT_OUT
        }
        keywords["additionalProperties"] = _without_patterns(keywords["additionalProperties"])
        made: Any = validators.create(
            meta_schema=whole.META_SCHEMA, validators=keywords, type_checker=whole.TYPE_CHECKER, id_of=whole.ID_OF
        )
        return made

    def _counted(self, check: Keyword) -> Keyword:
        def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
            self._left -= 1 + (len(value) if isinstance(value, list | dict) else 0)
            self._left -= len(instance) if isinstance(instance, list | dict) else 0
            if self._left < 0:
                raise TakesTooLong
            return check(validator, value, instance, schema)

        return counted


def _without_patterns(check: Keyword) -> Keyword:
    """Names that fit a pattern are not additional, and which do is not looked at."""

    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        return None if "patternProperties" in schema else check(validator, value, instance, schema)

    return checked
