"""HTTP of the catalog of techniques, and checks of recipes."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from models.catalog.recipe import FAMILIES, Recipe
from models.catalog.technique import StrictModel, Technique, members
from service.dependencies import DatabaseDep
from service.jobs import creation
from service.json_body import JsonRoute
from service.types import Text

router = APIRouter(prefix="/v1", tags=["techniques"], route_class=JsonRoute)


class Entry(BaseModel):
    """A technique: what it does, and the JSON Schema of its fields."""

    kind: str
    description: str
    fields: dict[str, Any]


class Catalog(BaseModel):
    """Every technique by family, and the JSON Schema of the whole recipe."""

    families: dict[str, list[Entry]]
    recipe: dict[str, Any]


class RecipeCheck(StrictModel):
    """A recipe to check, alone or with what a job would train."""

    recipe: Recipe = Recipe()
    """The choices of the training."""
    backbone: Text | None = None
    """Name of a backbone."""
    dataset: Text | None = None
    """Id of a dataset that is ready."""


class CheckedRecipe(BaseModel):
    """A recipe that a job would take, with its defaults."""

    recipe: dict[str, Any]


@router.get("/techniques")
@cache
def get_catalog() -> Catalog:
    """Get the catalog: every technique, and the JSON Schema of a recipe."""
    return Catalog(
        families={name: [_entry(name, technique) for technique in members(f)] for name, f in FAMILIES.items()},
        recipe=Recipe.model_json_schema(),
    )


@router.post("/recipes/check")
def check_recipe(body: RecipeCheck, database: DatabaseDep) -> CheckedRecipe:
    """Check a recipe, with a backbone and a dataset if they are given, without starting a job."""
    with database.reading() as session:
        creation.check(session, body.recipe, body.dataset, body.backbone)
    return CheckedRecipe(recipe=body.recipe.model_dump(mode="json"))


def _entry(family: str, technique: type[Technique]) -> Entry:
    kind = technique.model_fields.get("kind")
    return Entry(
        kind=family if kind is None else kind.default,
        description=technique.__doc__ or "",
        fields=technique.model_json_schema(),
    )
