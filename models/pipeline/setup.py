"""Preparation: what a fine-tuning finds out and sets up before it looks at the first image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from models import backbones
from models.backbones.pretrained_classifier import select_classes
from models.datasets.splits import split
from models.features.extractor import HALF, Extractor
from models.messages import Noted
from models.networks import surgery
from models.networks.cut_network import cut_at
from models.networks.truncation import drop_stages
from models.pipeline.merge_head import Delivery
from models.training.subset import Subset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.losses import Task
    from models.pipeline.spec import Assignment


class Preparation:
    """The images in their parts, the backbone cut, the recipe resolved but for rates, and where features come from.

    Raises BackboneError, SurgeryError.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        wanted, classes = assignment.recipe, assignment.classes
        self.backbone = backbones.load(assignment.backbone, assignment.backbones)
        self.backbone_digest = self.backbone.digest
        self._split()
        self.images = sum(len(part.images) for part in (self.learn, self.validation, self.test))
        self.budget = min(wanted.cache.max_bytes or assignment.cache.budget, assignment.cache.budget)
        own = self.backbone.preprocessing
        side = own.side if wanted.image_size == "auto" else wanted.image_size
        self.preprocessing = own.resize_to(side)
        self.kept = select_classes(self.backbone, classes) if wanted.head.kind == "keep" else None
        self._operate()
        self.recipe = wanted.resolve(
            task=self.task,
            image_size=side,
            num_features=self.feature_network.num_features,
            class_counts=dict(zip(classes, self._counts(), strict=True)),
            images=len(self.learn.images),
        )
        cache = assignment.cache if self.recipe.cache.mode == "on" else None
        self.views_dropped = 0 if cache is None else self._fit_views()
        self.extractor = Extractor(self.cut_network, self.preprocessing, assignment.device, cache)
        # Of several labels all logits count, not the greatest alone.
        self.is_tested_exactly = cache is None or self.task == "multi_label" or self.recipe.precision == "exact"
        parts = (self.learn, self.validation, *(() if self.is_tested_exactly else (self.test,)))
        self.plain = np.concatenate([part.images for part in parts])
        self.engine = self.extractor.choose_engine(
            self.recipe.engine, self.recipe.precision, assignment.pack, self.plain
        )
        self.recipe = self.recipe.computed_by(self.engine.kind.engine, self.engine.kind.precision)
        self.features = self.extractor.features(assignment.pack, self.recipe.image_augmentations)
        self.exact_features = self.extractor.exact(assignment.pack)

    def _split(self) -> None:
        pack, recipe = self.assignment.pack, self.assignment.recipe
        self.task: Task = "multi_label" if pack.is_multi_label else "single_label"
        labels = pack.encode_targets(len(self.assignment.classes)) if pack.is_multi_label else pack.labels
        parts = split(pack.digests.tolist(), labels, pack.splits, recipe.validation_fraction, recipe.test_fraction)
        self.learn, self.validation, self.test = (
            Subset(part, labels[part]) for part in (parts.train, parts.validation, parts.test)
        )

    def _operate(self) -> None:
        """Drop the network's top stages, and cut it."""
        network, size, wanted = self.backbone.network, self.preprocessing.input_size, self.assignment.recipe
        dropped: list[str] = []
        if wanted.drop_stages:
            truncated = drop_stages(network, wanted.drop_stages, size)
            network, dropped = truncated.network, truncated.dropped
        identity = {
            "architecture": self.backbone.architecture,
            "model_args": self.backbone.model_args,
            **({"dropped": dropped} if dropped else {}),
        }
        self.feature_network = surgery.cut_before_classifier(network, size, identity)
        most = self.budget / self.images if wanted.has_features else math.inf
        self.cut_network = cut_at(self.feature_network, wanted.cut, most)
        self.delivery = Delivery(self.feature_network, wanted.head, dropped)

    def _fit_views(self) -> int:
        """Have as many views as fit the budget; gives how many less that are."""
        row = HALF.itemsize * math.prod(self.cut_network.shape)
        left = self.budget - row * self.images
        wanted = self.recipe.cache
        fitting = wanted.limit_views(max(0, left // (row * len(self.learn.images))))
        self.recipe = self.recipe.model_copy(update={"cache": fitting})
        return wanted.most - fitting.most

    def _counts(self) -> list[int]:
        """Images to train on, by class."""
        labels = self.learn.labels
        if self.task == "multi_label":
            return [int(count) for count in labels.sum(0)]
        return [int(count) for count in np.bincount(labels, minlength=len(self.assignment.classes))]

    def said(self) -> Noted:
        """What is going to be trained, in words."""
        sizes = {"train": self.learn, "validation": self.validation, "test": self.test}
        counts = {name: len(examples.labels) for name, examples in sizes.items()}
        stages = [stage.name for stage in self.cut_network.stages]
        per_view = sum(counts.values()) * self.features.bytes_per_row
        kept = f"; a view of all takes {per_view / 1e6:,.1f} MB in the cache" if per_view else ""
        above = f", {', '.join(stages)} above it are trained" if stages else ""
        return Noted(
            kind="prepared",
            message=(
                f"{self.backbone.name}, cut at {self.cut_network.cut}{above}, "
                f"gives {self.feature_network.num_features} features; "
                f"{counts['train']} images to train on, {counts['validation']} to validate on, "
                f"{counts['test']} to test on; computed by {self.engine.kind}: {self.engine.why}{kept}"
            ),
            data={
                "cut": self.cut_network.cut,
                "stages": stages,
                "dropped": self.delivery.dropped,
                "num_features": self.feature_network.num_features,
                **counts,
                "bytes_per_view": per_view,
                "engine": str(self.engine.kind),
                "engine_figures": self.engine.figures,
            },
        )

    def compromises(self) -> Iterator[Noted]:
        """What is not as the recipe has it, for the budget's sake."""
        why = f"to stay within the cache's budget of {self.budget:,} bytes: raise cache.max_bytes and GRAFT_CACHE_BYTES"
        moved_from, cut = self.cut_network.moved_from, self.cut_network.cut
        if moved_from is not None:
            yield Noted(
                level="warning",
                kind="cut_moved",
                message=f"The backbone is cut at {cut}, not at {moved_from}, {why}",
                data={"from": moved_from, "to": cut},
            )
        if self.views_dropped:
            views = self.recipe.cache.most
            yield Noted(
                level="warning",
                kind="views_limited",
                message=f"There are {views} augmented views and no more, {why}",
                data={"views": views, "left_out": self.views_dropped},
            )
