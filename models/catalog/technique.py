"""What every technique is: a frozen, validated, documented value with one verb."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[float, Field(gt=0.0, le=1e30)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e30)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]


class Technique(BaseModel):
    """A member of a family. Its docstring gives formula and source, its fields their ranges and defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def by_name(default: str) -> BeforeValidator:
    """Lets a family's members be given by their kind alone: "relu". Fields with no kind are those of the default."""

    def spelled_out(given: Any) -> Any:
        if isinstance(given, str):
            return {"kind": given}
        if isinstance(given, dict) and "kind" not in given:
            return {"kind": default, **given}
        return given

    return BeforeValidator(spelled_out)


def members(family: Any) -> tuple[type[Technique], ...]:
    """The techniques of a family: of `Annotated[A | B, …]`, A and B; of a technique, itself."""
    if isinstance(family, type) and issubclass(family, Technique):
        return (family,)
    return tuple(member for argument in get_args(family) for member in members(argument) if member is not None)
