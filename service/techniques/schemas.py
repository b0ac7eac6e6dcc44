"""The catalog and checks of recipes as JSON."""

from __future__ import annotations

from typing import Any

from service.jobs.schemas import TrainingRequest
from service.types import DescribedModel, Text


class Entry(DescribedModel):
    """A technique: what it does, and the JSON Schema of its fields."""

    kind: str
    description: str
    fields: dict[str, Any]


class Catalog(DescribedModel):
    """Every technique by family, and the JSON Schema of the whole recipe."""

    families: dict[str, list[Entry]]
    recipe: dict[str, Any]


class RecipeCheck(TrainingRequest):
    """A recipe to check, alone or with what a job would train."""

    dataset: Text | None = None
    """Id of a dataset that is ready."""


class UsedTechnique(DescribedModel):
    """A technique of a recipe, with its defaults."""

    loc: str
    """Field of the recipe, such as optimizer or augmentations.0."""
    family: str
    kind: str
    fields: dict[str, Any]


class Remark(DescribedModel):
    """Something that a job would take, and perhaps not do as one expects."""

    loc: str
    msg: str


class Costs(DescribedModel):
    """Costs of a job, as far as they are known without starting one; null where they are not.

    Of several backbones bytes and seconds are those of all in the cheapest candidate recipe, and what differs is null.
    """

    images: int | None = None
    """Images of the dataset, each computed once for each view."""
    least_views: int | None = None
    """Views of an image that are computed, the plain one included; more are added only while they help."""
    most_views: int | None = None
    """Of training images alone; others have the plain view."""
    cut: str | None = None
    """Where the backbone is cut: what is below is computed once for each view, and what is above in each epoch."""
    multiply_adds_below: int | None = None
    """Of one image."""
    multiply_adds_above: int | None = None
    """Of one image, the backbone's own classifier included."""
    bytes_per_feature: int | None = None
    """Bytes in the cache of one view of an image."""
    least_cache_bytes: int | None = None
    """Of all images, in the views that are computed in any case."""
    most_cache_bytes: int | None = None
    seconds_per_image: float | None = None
    """Time of what is below the cut for one view, as the newest job with this backbone and cut measured it."""
    least_seconds: float | None = None
    """Time of what is below the cut for all images, if the cache had none of them."""
    most_seconds: float | None = None


class CheckedRecipe(DescribedModel):
    """A recipe that a job would take."""

    recipe: dict[str, Any]
    """With its defaults, and resolved as far as it can be without images and network."""
    techniques: list[UsedTechnique]
    warnings: list[Remark]
    costs: Costs
