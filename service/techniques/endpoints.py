"""HTTP of the catalog of techniques, and checks of recipes."""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter

from models.catalog.families import FAMILIES
from models.catalog.recipe import Recipe
from models.catalog.technique import Technique, members
from service.dependencies import DatabaseDep
from service.json_body import JsonRoute
from service.techniques import dry_run
from service.techniques.schemas import Catalog, CheckedRecipe, Entry, RecipeCheck

router = APIRouter(prefix="/v1", tags=["techniques"], route_class=JsonRoute)


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
    """Check a recipe without starting a job, with a backbone and a dataset if they are given.

    Where a job would be refused, the error is the job's; else the answer has the recipe with its defaults, warnings,
    and the costs as far as they are known.
    """
    with database.reading() as session:
        return dry_run.check(session, body)


def _entry(family: str, technique: type[Technique]) -> Entry:
    kind = technique.model_fields.get("kind")
    return Entry(
        kind=family if kind is None else kind.default,
        description=technique.__doc__ or "",
        fields=technique.model_json_schema(),
    )
