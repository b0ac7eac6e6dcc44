"""Dry run of a recipe: resolved as far as rows of the database allow, with warnings and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.catalog.cuts import All, CandidateCut, CutUnknown
from models.catalog.families import FAMILIES
from models.catalog.technique import Technique, members
from service.backbones import repository as backbones
from service.backbones.errors import BackboneNotFound
from service.jobs import creation
from service.jobs import repository as jobs
from service.tables import Dataset
from service.techniques.schemas import CheckedRecipe, Costs, Remark, UsedTechnique

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

    from models.catalog.recipe import Recipe
    from service.tables import Backbone
    from service.techniques.schemas import RecipeCheck

SUMMED = ("least_cache_bytes", "most_cache_bytes", "least_seconds", "most_seconds")
"""Costs that add up over backbones."""


def check(session: Session, request: RecipeCheck) -> CheckedRecipe:
    """Check a recipe as the creation of a job does, and estimate what the job costs.

    Raises as `creation.list_named` and `creation.check`.
    """
    recipe, named = request.recipe, creation.list_named(request)
    creation.check(session, recipe, request.dataset, named)
    dataset = None if request.dataset is None else session.get_one(Dataset, request.dataset)
    resolved = _resolve(recipe, dataset, None)
    of_each: list[Costs] = []
    warnings: list[Remark] = []
    for loc, backbone in _find_backbones(session, named):
        side = None if backbone is None or not backbone.input_size else max(backbone.input_size[1:])
        of_it = _resolve(recipe, dataset, side)
        costs = Costs() if dataset is None else _count_views(of_it, dataset)
        if backbone is not None:
            warnings += _find_cut(costs, of_it, backbone, side, loc)
            costs.seconds_per_image = jobs.find_seconds_per_image(session, backbone.id, of_it)
        _multiply(costs, recipe)
        warnings += _compare_budget(costs, of_it)
        of_each.append(costs)
        resolved = of_it if len(named) == 1 else resolved
    costs = of_each[0] if len(of_each) == 1 else _sum_up(of_each)
    if recipe.budget_seconds is not None and recipe.quality != "fast":
        costs.most_seconds = recipe.budget_seconds
        costs.least_seconds = None if costs.least_seconds is None else min(costs.least_seconds, costs.most_seconds)
    return CheckedRecipe(
        recipe=resolved.model_dump(mode="json"),
        techniques=list(_list_techniques(resolved)),
        warnings=warnings,
        costs=costs,
    )


def _find_backbones(session: Session, named: Mapping[str, str]) -> Iterator[tuple[str, Backbone | None]]:
    """Find the backbones, each with the field that names it; None for one that is not known, or where none is named."""
    if not named:
        yield "", None
    for loc, name in named.items():
        try:
            yield loc, backbones.get(session, name)
        except BackboneNotFound:  # a repository of the Hub that nobody has asked for yet
            yield loc, None


def _resolve(recipe: Recipe, dataset: Dataset | None, side: int | None) -> Recipe:
    """Replace each "auto" that does not depend on images or on the network."""
    resolved = recipe
    if dataset is not None and dataset.task is not None and dataset.task != "unlabelled":
        resolved = resolved.for_task(dataset.task)
    more = {"epochs": resolved.most_epochs} if recipe.quality == "fast" else {}
    if side is not None and resolved.image_size == "auto":
        more["image_size"] = side
    return resolved.model_copy(update=more)


def _count_views(recipe: Recipe, dataset: Dataset) -> Costs:
    """Count the images of a dataset, and the views of them."""
    costs = Costs(images=dataset.images)
    if not recipe.has_features:
        return costs
    train = dataset.images * (1 - recipe.validation_fraction - recipe.test_fraction)
    cache = recipe.cache.resolve(
        is_used=True,
        has_augmentations=bool(recipe.image_augmentations),
        images_per_class=0.0 if recipe.cut.trains else train / max(1, len(dataset.classes)),
    )
    costs.least_views, costs.most_views = 1 + cache.first, 1 + cache.most
    return costs


def _find_cut(costs: Costs, recipe: Recipe, backbone: Backbone, side: int | None, loc: str) -> Iterator[Remark]:
    """Find the cut that a recipe chooses, with what it costs; gives remarks, `loc` for what is not known."""
    if recipe.cut.kind == "none":
        return
    if not backbone.inspection or not any(cut["parameters_above"] for cut in backbone.inspection["cuts"]):
        msg = (
            f"What {backbone.id} costs is not known yet: POST /v1/backbones/{backbone.id}/inspect has a worker find it."
        )
        yield Remark(loc=loc, msg=msg)
        return
    if recipe.drop_stages or recipe.pooling is not None or recipe.image_size != side:
        return  # known for the whole network, its own pooling and its own images alone
    cuts = [cut for cut in backbone.inspection["cuts"] if cut["parameters_above"]]  # below its classifier
    try:
        if not isinstance(recipe.cut, All):
            name = recipe.cut.choose([CandidateCut.from_dict(cut) for cut in cuts])
            cuts = [cut for cut in cuts if cut["name"] == name]
    except CutUnknown as error:
        yield Remark(loc="body.recipe.cut", msg=str(error))
        return
    cut = cuts[-1]
    costs.cut = cut["name"]
    costs.multiply_adds_below, costs.multiply_adds_above = cut["multiply_adds_below"], cut["multiply_adds_above"]
    costs.bytes_per_feature = cut["bytes_per_feature"] if recipe.has_features else None


def _multiply(costs: Costs, recipe: Recipe) -> None:
    """Multiply the costs of one view by the number of images and views."""
    if costs.images is None or costs.least_views is None or costs.most_views is None:
        return
    train = round(costs.images * (1 - recipe.validation_fraction - recipe.test_fraction))
    least, most = (costs.images + train * (views - 1) for views in (costs.least_views, costs.most_views))
    if costs.bytes_per_feature is not None:
        costs.least_cache_bytes, costs.most_cache_bytes = (
            least * costs.bytes_per_feature,
            most * costs.bytes_per_feature,
        )
    if costs.seconds_per_image is not None:
        costs.least_seconds, costs.most_seconds = least * costs.seconds_per_image, most * costs.seconds_per_image


def _sum_up(of_each: Sequence[Costs]) -> Costs:
    """Sum up what all backbones cost in the same recipe; a sum of which a part is not known is not known."""
    first = of_each[0]

    def add(field: str) -> Any:
        values = [getattr(costs, field) for costs in of_each]
        return None if None in values else sum(values)

    return Costs(
        images=first.images,
        least_views=first.least_views,
        most_views=first.most_views,
        **{field: add(field) for field in SUMMED},
    )


def _compare_budget(costs: Costs, recipe: Recipe) -> Iterator[Remark]:
    most = recipe.cache.max_bytes
    if most is None or costs.most_cache_bytes is None or costs.least_cache_bytes is None:
        return
    if costs.most_cache_bytes > most:
        yield Remark(
            loc="body.recipe.cache.max_bytes",
            msg=f"All views of all images take {costs.most_cache_bytes} bytes; fewer are used, or the cut is moved up.",
        )
        costs.most_cache_bytes, costs.least_cache_bytes = most, min(most, costs.least_cache_bytes)


def _list_techniques(recipe: Recipe) -> Iterator[UsedTechnique]:
    """List the techniques of a recipe, those inside of others included, each with its family."""
    families = {member: name for name, family in FAMILIES.items() for member in members(family)}
    pending: list[tuple[str, object]] = [("", recipe)]
    while pending:
        loc, value = pending.pop(0)
        if isinstance(value, tuple):
            pending += [(f"{loc}.{place}", one) for place, one in enumerate(value)]
        if not isinstance(value, Technique):
            continue
        pending += [(f"{loc}.{name}".lstrip("."), one) for name, one in value]
        if type(value) in families:
            fields = value.model_dump(mode="json")
            family = families[type(value)]
            yield UsedTechnique(loc=loc, family=family, kind=fields.pop("kind", family), fields=fields)
