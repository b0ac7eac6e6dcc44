"""The beginning of a head: what is found out about it, and where it starts, before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.runtime.stop_condition import NONE
from models.training import lda
from models.training.head_search import search
from models.training.lr_range_test import rated

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.messages import HeadsSearched, Noted
    from models.runtime.stop_condition import StopCondition
    from models.training.model import TrainableModel
    from models.training.subset import Subset


def begin(
    recipe: Recipe,
    classes: list[str],
    model: TrainableModel,
    source: FeatureSource,
    train: Subset,
    validation: Subset,
    stop_condition: StopCondition = NONE,
) -> Generator[Noted | HeadsSearched, None, Recipe]:
    """Find the rate of what is grafted, have its head start in closed form, and search, as the recipe has it.

    Tells what was found, and returns the recipe with nothing left to find.
    """
    recipe = rated(recipe, classes, model, source, train)
    if recipe.starts_from_lda:
        yield lda.start(model, recipe, classes, source, train, validation)
    if recipe.search is not None:
        recipe, searched = search(recipe, classes, model, source, train, validation, stop_condition)
        yield searched
    return recipe
