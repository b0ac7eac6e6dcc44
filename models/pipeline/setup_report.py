"""Messages about the setup of a fine-tuning: what was chosen, what was limited, and what will take long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from models.messages import Noted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.pipeline.setup import Prepared

MANY_TIMES, LONG_SECONDS = 2.0, 600.0
"""Images with this many times the backbone's own pixels are warned of if their features take as long."""


def describe(ready: Prepared) -> Noted:
    """Describe the setup in a log message: backbone, cut, features, images and engine."""
    subsets = {"train": ready.train, "validation": ready.validation, "test": ready.test}
    counts = {name: len(subset.labels) for name, subset in subsets.items()}
    stages = [stage.name for stage in ready.cut_network.stages]
    bytes_per_view = sum(counts.values()) * ready.features.bytes_per_row
    cached = f"; a view of all takes {bytes_per_view / 1e6:,.1f} MB in the cache" if bytes_per_view else ""
    seconds = ready.engine.seconds_per_image
    time = "" if seconds is None else f"; {seconds:.2g} s to compute an image"
    above = f", {', '.join(stages)} above it are trained" if stages else ""
    num_features = ready.slot.feature_network.num_features
    return Noted(
        kind="prepared",
        message=(
            f"{ready.backbone.name}, cut at {ready.cut_network.cut}{above}, gives {num_features} features; "
            f"{counts['train']} images to train on, {counts['validation']} to validate on, {counts['test']} to test "
            f"on; computed by {ready.engine.config}: {ready.engine.reason}{cached}{time}"
        ),
        data={
            "backbone_revision": ready.backbone.revision,
            "cut": ready.cut_network.cut,
            "stages": stages,
            "dropped": ready.slot.dropped,
            "num_features": num_features,
            **counts,
            "bytes_per_view": bytes_per_view,
            "engine": str(ready.engine.config),
            "seconds_per_image": seconds,
            "engine_figures": ready.engine.measurements,
        },
    )


def report_limits(ready: Prepared) -> Iterator[Noted]:
    """Report classes of a kept head that are new, and what the cache's budget or the size of images changes."""
    if ready.kept is not None and ready.kept.new:
        known, new = ready.kept.known, ready.kept.new
        yield Noted(
            kind="classes_added",
            message=f"The classifier is kept for {len(known)} classes; new and from zero: {', '.join(new)}",
            data={"known": known, "new": new},
        )
    why = f"to stay within the cache's budget of {ready.budget:,} bytes: raise cache.max_bytes and GRAFT_CACHE_BYTES"
    moved_from, cut = ready.cut_network.moved_from, ready.cut_network.cut
    if moved_from is not None:
        yield Noted(
            level="warning",
            kind="cut_moved",
            message=f"The backbone is cut at {cut}, not at {moved_from}, {why}",
            data={"from": moved_from, "to": cut},
        )
    if ready.views_dropped:
        views = ready.recipe.cache.most
        yield Noted(
            level="warning",
            kind="views_limited",
            message=f"There are only {views} augmented views, {why}",
            data={"views": views, "left_out": ready.views_dropped},
        )
    yield from _report_large_images(ready)


def _report_large_images(ready: Prepared) -> Iterator[Noted]:
    """Report how long features take, where images larger than the backbone's own make them slow."""
    per_image = ready.engine.seconds_per_image
    if per_image is None or ready.backbone.own_size is None:
        return
    size, own = ready.preprocessing.input_size, ready.backbone.own_size
    ratio = math.prod(size) / math.prod(own)
    plain, view = per_image * len(ready.images_to_cache), per_image * len(ready.train.images)
    views = min(ready.recipe.cache.most, ready.recipe.epochs - 1)
    if ratio < MANY_TIMES or plain + views * view < LONG_SECONDS:
        return
    yield Noted(
        level="warning",
        kind="large_images",
        message=(
            f"Images of {size[1]}x{size[2]} pixels have {ratio:.3g} times as many as the backbone's own {own[1]}x"
            f"{own[2]}: on this machine their features take about {plain / 60:,.0f} minutes, and each augmented view "
            f"of the training images {view / 60:,.0f} more, {views} views at most: set image_size or cache.views lower"
        ),
        data={"seconds": round(plain), "seconds_per_view": round(view), "views": views},
    )
