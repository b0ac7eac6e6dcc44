"""Setup of a fine-tuning: backbone, split, cut, engine and recipe, before any image is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import nn

from models import backbones
from models.backbones.pretrained_classifier import select_classes
from models.datasets.splits import split
from models.features.cache import FeatureCache
from models.features.extractor import HALF, Extractor
from models.networks.cut_network import CutNetwork, cut_at
from models.networks.depth_pooling import pool_depths
from models.networks.feature_network import cut_before_classifier
from models.networks.graph_network import GraphNetwork
from models.networks.truncation import drop_stages
from models.pipeline.merge_head import find_head_slot
from models.pipeline.teacher import Teacher
from models.runtime import devices
from models.runtime.checkpoint_file import digest_tensors
from models.training.inputs import Subset, TrainingRun
from models.training.trainable_model import TrainableModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch

    from models.backbones.backbone import Backbone
    from models.backbones.pretrained_classifier import KeptClassifier
    from models.catalog.losses import Task
    from models.catalog.recipe import Recipe, ResolvedRecipe
    from models.datasets.pack import Pack
    from models.features.engines.selection import EngineChoice
    from models.features.sources import FeatureSource
    from models.features.standardization import Standardization
    from models.images.preprocessing import Preprocessing
    from models.networks.feature_network import FeatureNetwork
    from models.networks.types import TimmNetwork
    from models.pipeline.merge_head import HeadSlot
    from models.pipeline.spec import TrainingSpec
    from models.runtime.stop_condition import StopCondition
    from models.runtime.supervisor_callbacks import Context


@dataclass(frozen=True)
class Probe:
    """The head alone on the frozen backbone, to be trained before stages are."""

    recipe: ResolvedRecipe
    cut_network: CutNetwork
    features: FeatureSource
    images_to_cache: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """Prepared fine-tuning: backbone, cut network, splits, features, engine and resolved recipe."""

    recipe: ResolvedRecipe
    backbone: Backbone
    preprocessing: Preprocessing
    cut_network: CutNetwork
    slot: HeadSlot
    """Position in the network at which the trained head is merged."""
    kept: KeptClassifier | None
    """The backbone's own classifier, for a head that keeps it."""
    train: Subset
    validation: Subset
    test: Subset
    extractor: Extractor
    engine: EngineChoice
    features: FeatureSource
    """For training; view 0 of these images is cached first."""
    images_to_cache: np.ndarray
    exact_features: FeatureSource
    """For the test, exactly as the checkpoint's network computes them."""
    is_tested_exactly: bool
    """True if all test images are computed exactly; False: only those whose class is uncertain."""
    budget: int
    """Bytes that the features may take."""
    views_dropped: int
    """Augmented views that do not fit the budget."""
    probe: Probe | None
    """What is trained before; None where training starts otherwise."""
    open_probe: Callable[[], Probe] | None
    """Opens it where BatchNorm is adapted before; None where it is open already, or there is none."""
    teacher: Teacher | None
    """The checkpoint that the recipe distils."""
    backbone_tensors: Mapping[str, str]
    """SHA-256 of each tensor of the backbone, by name, as it was loaded."""

    def find_changed(self, tensors: Mapping[str, torch.Tensor]) -> list[str]:
        """Find the names of the tensors that differ from the backbone's, or that it lacks."""
        digests = digest_tensors(tensors)
        return sorted(name for name, digest in digests.items() if self.backbone_tensors.get(name) != digest)


def prepare(spec: TrainingSpec, pack: Pack, context: Context) -> Prepared:
    """Load the backbone, split the images, cut the network, choose an engine, and resolve the recipe.

    Raises BackboneError, SurgeryError.
    """
    wanted, classes = spec.recipe, spec.dataset.classes
    task: Task = "multi_label" if pack.is_multi_label else "single_label"
    train, validation, test = split_pack(pack, len(classes), wanted)
    images = sum(len(subset.images) for subset in (train, validation, test))

    wanted_side = None if wanted.image_size == "auto" else wanted.image_size
    named = spec.backbone
    backbone = backbones.load(named.name, spec.local_backbones, wanted_side, named.folder, named.commit)
    backbone_tensors = digest_tensors(backbone.network.state_dict())  # training changes them in place
    kept = select_classes(backbone, classes) if wanted.head.kind == "keep" else None
    preprocessing = backbone.preprocessing

    feature_network, dropped = _cut_as_asked(wanted, backbone)
    budget = min(wanted.cache.max_bytes or spec.cache_bytes, spec.cache_bytes)
    most_bytes = budget / images if wanted.has_features else math.inf
    cut_network = cut_at(feature_network, wanted.cut, most_bytes, wanted.tuning)
    if wanted.cut.probe and not cut_network.stages:
        wanted = wanted.without_probe()
    slot = find_head_slot(feature_network, wanted.head, dropped)

    counts = train.count_images(len(classes)).tolist()
    cache = FeatureCache(spec.cache, spec.cache_bytes)

    def open_features(
        wanted: Recipe, cut_network: CutNetwork, images_to_cache: np.ndarray
    ) -> tuple[Extractor, EngineChoice, ResolvedRecipe]:
        """Choose the engine of a trunk, and resolve the recipe that trains what is above it."""
        own_cache = cache if wanted.has_features else None
        extractor = Extractor(cut_network, preprocessing, devices.choose(spec.device), own_cache, context.heartbeat)
        engine = extractor.choose_engine(wanted.engine, wanted.precision, pack, images_to_cache)
        resolved = wanted.resolve(
            task=task,
            image_size=preprocessing.side,
            num_features=feature_network.num_features,
            class_counts=dict(zip(classes, counts, strict=True)),
            images=len(train.images),
            engine=engine.config.engine,
            precision=engine.config.precision,
        )
        return extractor, engine, resolved

    def limit_views(resolved: ResolvedRecipe, cut_network: CutNetwork) -> ResolvedRecipe:
        """Limit the augmented views to those that fit the cache's budget."""
        row = HALF.itemsize * math.prod(cut_network.shape)
        return resolved.limit_views(max(0, (budget - row * images) // (row * len(train.images))))

    # Of several labels all logits count, not the greatest alone.
    is_tested_exactly = not wanted.has_features or task == "multi_label" or wanted.precision == "exact"
    cached = (train, validation) if is_tested_exactly else (train, validation, test)
    images_to_cache = np.concatenate([subset.images for subset in cached])
    extractor, engine, resolved = open_features(wanted, cut_network, images_to_cache)
    recipe = limit_views(resolved, cut_network) if wanted.has_features else resolved

    def open_probe() -> Probe:
        """Open the features of the whole backbone as it is now, for the head alone."""
        whole = CutNetwork.from_feature_network(feature_network)
        if is_adapted:
            whole = replace(whole, digest=feature_network.compute_digest())
        probed = np.concatenate([train.images, validation.images])
        head_extractor, _, of_head = open_features(wanted.to_probe(), whole, probed)
        of_head = limit_views(of_head, whole)
        return Probe(of_head, whole, head_extractor.open_source(pack, of_head.image_augmentations), probed)

    is_adapted = wanted.cut.batch_norm == "adapted"
    teacher = None
    if wanted.distillation is not None:
        device, name = devices.choose(spec.device), wanted.distillation.teacher
        teacher = Teacher.load(name, spec.teacher_folder, classes, pack, device, cache, context.heartbeat)
    return Prepared(
        recipe=recipe,
        backbone=backbone,
        preprocessing=preprocessing,
        cut_network=cut_network,
        slot=slot,
        kept=kept,
        train=train,
        validation=validation,
        test=test,
        extractor=extractor,
        engine=engine,
        features=extractor.open_source(pack, recipe.image_augmentations),
        images_to_cache=images_to_cache,
        exact_features=extractor.open_exact_source(pack),
        is_tested_exactly=is_tested_exactly,
        budget=budget,
        views_dropped=resolved.cache.most - recipe.cache.most,
        probe=open_probe() if wanted.cut.probe and not is_adapted else None,
        open_probe=open_probe if wanted.cut.probe and is_adapted else None,
        teacher=teacher,
        backbone_tensors=backbone_tensors,
    )


def _cut_as_asked(recipe: Recipe, backbone: Backbone) -> tuple[FeatureNetwork, list[str]]:
    """Drop stages and pool maps as a recipe asks, and cut before the classifier; returns what a head's place lacks."""
    network, size = backbone.network, backbone.preprocessing.input_size
    dropped: list[str] = []
    if recipe.drop_stages:
        truncated = drop_stages(network, recipe.drop_stages, size)
        network, dropped = truncated.network, truncated.dropped
    left_out = _find_left_out(network, dropped)
    if recipe.pooling is not None:  # a graph, of which nothing is left out
        network, dropped = pool_depths(network, recipe.pooling, size), []
    identity = {
        "architecture": backbone.architecture,
        "model_args": backbone.model_args,
        **({"dropped": left_out} if left_out else {}),
    }
    return cut_before_classifier(network, size, identity), dropped


def build_run(
    spec: TrainingSpec,
    ready: Prepared,
    part: Prepared | Probe,
    stop_condition: StopCondition,
    standardize: Standardization | None = None,
) -> TrainingRun:
    """Build the model of the whole fine-tuning, or of its probe, with all that its training needs."""
    model = TrainableModel.from_recipe(
        part.recipe,
        len(spec.dataset.classes),
        part.cut_network,
        part.features,
        ready.train.images,
        None if ready.kept is None else (ready.kept.weight, ready.kept.bias),
        standardize,
    )
    run = TrainingRun(
        part.recipe, spec.dataset.classes, model, part.features, ready.train, ready.validation, stop_condition
    )
    if part.recipe.distillation is None or ready.teacher is None:
        return run
    return replace(run, teacher_logits=ready.teacher.compute_logits(ready.train.images))


def _find_left_out(network: TimmNetwork, dropped: list[str]) -> list[str]:
    """Find the stages that a network is built without: as a checkpoint's, and those dropped now; a graph has none."""
    if isinstance(network, GraphNetwork):
        return []
    paths: Iterable[str] = getattr(network, "replaced", ())
    return [*(path for path in paths if isinstance(network.get_submodule(path), nn.Identity)), *dropped]


class SplitFractions(Protocol):
    """The fields of a recipe by which images are split."""

    @property
    def validation_fraction(self) -> float:
        """Share of the validation images."""
        ...

    @property
    def test_fraction(self) -> float:
        """Share of the test images."""
        ...


def split_pack(pack: Pack, num_classes: int, fractions: SplitFractions) -> tuple[Subset, Subset, Subset]:
    """Split a pack's images into training, validation and test images."""
    labels = pack.encode_targets(num_classes) if pack.is_multi_label else pack.labels
    parts = split(pack.lossless_digests, labels, pack.splits, fractions.validation_fraction, fractions.test_fraction)
    train, validation, test = (Subset(part, labels[part]) for part in (parts.train, parts.validation, parts.test))
    return train, validation, test
