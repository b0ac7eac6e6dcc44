"""Base class of all techniques: a frozen, validated, documented pydantic model."""

from __future__ import annotations

import difflib
import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Positive = Annotated[float, Field(gt=0.0, le=1e30)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e30)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Value = TypeVar("Value")


class Unresolved(Exception):
    """A field is still "auto" or "same": resolve the recipe first."""


class StrictModel(BaseModel):
    """Base of JSON that people write: an unknown field is answered with the known ones, and true is no number."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _validate_strictly(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        details = cls._find_booleans(given)
        refused = {detail["loc"][0] for detail in details}
        try:
            model = validate(given)
        except ValidationError as error:
            found = error.errors(include_url=False)
            details += [cls._describe(detail) for detail in found if not {*detail["loc"][:1]} & refused]
        else:
            if not details:
                return model
        raise ValidationError.from_exception_data(cls.__name__, details)

    @classmethod
    def _find_booleans(cls, given: Any) -> list[InitErrorDetails]:
        """Find true and false in fields of numbers: Python's are ints, so `"epochs": true` would be one epoch."""
        kind = PydanticCustomError("boolean_number", "true and false are no numbers")
        return [
            InitErrorDetails(type=kind, loc=(name,), input=value)
            for name, value in (given.items() if isinstance(given, dict) else ())
            if name in cls.model_fields and _holds_boolean(value, _find_types(cls, name))
        ]

    @classmethod
    def _describe(cls, found: ErrorDetails) -> InitErrorDetails:
        message = found["msg"]
        if found["type"] == "extra_forbidden" and len(found["loc"]) == 1:
            message = _name_fields(
                str(found["loc"][0]), [field.alias or name for name, field in cls.model_fields.items()]
            )
        if found["type"] == "union_tag_invalid" and "tag" in found["ctx"]:
            message = _name_kinds(found["ctx"]["tag"], found["ctx"]["expected_tags"])
        # Braces in a message would be taken for placeholders.
        kind = PydanticCustomError(found["type"], "{message}", {"message": message})
        return InitErrorDetails(type=kind, loc=found["loc"], input=found["input"])


def _holds_boolean(value: Any, types: frozenset[type]) -> bool:
    """Check whether a number of a field is true or false."""
    if bool in types or not types & {int, float}:
        return False
    if isinstance(value, bool):
        return True
    # Models look at their own fields.
    items = () if any(issubclass(kind, BaseModel) for kind in types) else value
    values = items.values() if isinstance(items, dict) else items if isinstance(items, list | tuple) else ()
    return any(isinstance(item, bool) for item in values)


@cache
def _find_types(model: type[BaseModel], field: str) -> frozenset[type]:
    """Find every type that a field may have, also within lists and objects."""
    found, pending = set(), [model.model_fields[field].annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type):
            found.add(annotation)
        pending += get_args(annotation)
    return frozenset(found)


def _name_fields(unknown: str, known: list[str]) -> str:
    return f"Extra inputs are not permitted; {_suggest(unknown, known)}the fields here are {', '.join(known)}"


def _name_kinds(unknown: str, known: str) -> str:
    hint = _suggest(unknown, re.findall(r"\w+", known))
    return f"There is no {unknown[:100]!r}; {hint}the kinds here are {known}"


def _suggest(unknown: str, known: list[str]) -> str:
    near = difflib.get_close_matches(unknown, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


class Technique(StrictModel):
    """Base of every technique: its docstring has the formula and the paper, its fields have ranges and defaults."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


def known(value: Value | Literal["auto", "same"]) -> Value:
    """Return a choice that `resolve` has made. Raises Unresolved where it has not."""
    if value == "auto" or value == "same":
        raise Unresolved(f"This choice is still {value!r}: resolve the recipe first.")
    return value


def by_name(default: str) -> BeforeValidator:
    """Accept a kind alone, such as "relu", for a technique with defaults; without a kind, take the default's."""

    def expand(given: Any) -> Any:
        if isinstance(given, str):
            return {"kind": given}
        if isinstance(given, dict) and "kind" not in given:
            return {"kind": default, **given}
        return given

    return BeforeValidator(expand)


def members(family: Any) -> tuple[type[Technique], ...]:
    """List the techniques of a family: A and B for `Annotated[A | B, …]`, a technique itself for a technique."""
    if isinstance(family, type) and issubclass(family, Technique):
        return (family,)
    return tuple(member for argument in get_args(family) for member in members(argument) if member is not None)
