"""The beginning of a head: what is found out about it, and where it starts, before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import discriminant
from models.limit import NONE
from models.range_test import rated
from models.search import search

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.catalog.recipe import Recipe
    from models.events import Noted
    from models.examples import Examples
    from models.features import Source
    from models.grafted import Grafted
    from models.limit import Limit


def begin(
    recipe: Recipe,
    classes: list[str],
    grafted: Grafted,
    source: Source,
    train: Examples,
    validation: Examples,
    limit: Limit = NONE,
) -> Generator[Noted, None, Recipe]:
    """Find the rate of what is grafted, have its head start in closed form, and search, as the recipe has it.

    Tells what was found, and returns the recipe with nothing left to find.
    """
    recipe = rated(recipe, classes, grafted, source, train)
    if recipe.starts_as_discriminant:
        yield discriminant.start(grafted, recipe, classes, source, train, validation)
    if recipe.search is not None:
        recipe, searched = search(recipe, classes, grafted, source, train, validation, limit)
        yield searched
    return recipe
