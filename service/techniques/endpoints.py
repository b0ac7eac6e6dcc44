"""HTTP of the catalog of techniques."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from models.catalog.recipe import FAMILIES, Recipe
from models.catalog.technique import Technique, members

router = APIRouter(prefix="/v1/techniques", tags=["techniques"])


class Entry(BaseModel):
    """A technique: what it does, and the JSON Schema of its fields."""

    kind: str
    description: str
    fields: dict[str, Any]


class Catalog(BaseModel):
    """Every technique by family, and the JSON Schema of the whole recipe."""

    families: dict[str, list[Entry]]
    recipe: dict[str, Any]


@router.get("")
@cache
def get_catalog() -> Catalog:
    """Get the catalog: every technique, and the JSON Schema of a recipe."""
    return Catalog(
        families={name: [_entry(name, technique) for technique in members(f)] for name, f in FAMILIES.items()},
        recipe=Recipe.model_json_schema(),
    )


def _entry(family: str, technique: type[Technique]) -> Entry:
    kind = technique.model_fields.get("kind")
    return Entry(
        kind=family if kind is None else kind.default,
        description=technique.__doc__ or "",
        fields=technique.model_json_schema(),
    )
