"""Base class of all techniques: a frozen, validated, documented pydantic model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[float, Field(gt=0.0, le=1e30)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e30)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Value = TypeVar("Value")


class Unresolved(Exception):
    """A field is still "auto" or "same": resolve the recipe first."""


class Technique(BaseModel):
    """Base of every technique: its docstring has the formula and the paper, its fields have ranges and defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


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
