"""The beginning of a head: what is found out about it, and where it starts, before its first step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from models import discriminant
from models.range_test import rated
from models.search import search

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.catalog.recipe import Recipe
    from models.events import Noted
    from models.examples import Examples
    from models.features import Source
    from models.grafted import Grafted


def begin(
    recipe: Recipe,
    classes: list[str],
    grafted: Grafted,
    source: Source,
    train: Examples,
    validation: Examples,
    deadline: float = math.inf,
) -> Generator[Noted, None, Recipe]:
    """Find the rate of what is grafted, have its head start in closed form, and search, as the recipe has it.

    Tells what was found, and returns the recipe with nothing left to find. `deadline` is a time of time.monotonic().
    """
    recipe = rated(recipe, classes, grafted, source, train)
    if recipe.starts_as_discriminant:
        yield discriminant.start(grafted, recipe, classes, source, train, validation)
    if recipe.search is not None:
        recipe, searched = search(recipe, classes, grafted, source, train, validation, deadline)
        yield searched
    return recipe
