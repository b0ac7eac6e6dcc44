"""Pretrain a whole backbone on the images of a dataset: the folder of a new backbone comes out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from models import backbones
from models.backbones.checkpoint_folder import OF_OTHER_WEIGHTS
from models.catalog.backbone_pretraining import LEAST_IMAGES
from models.catalog.cuts import Nothing
from models.catalog.recipe import Recipe
from models.datasets.pack import SPLIT_CODES, UNLABELLED
from models.importers import backbone_folder
from models.messages import Noted
from models.networks.candidate_cuts import inspect
from models.networks.cut_network import cut_at
from models.networks.feature_network import cut_before_classifier
from models.networks.graph_network import GraphNetwork
from models.networks.tracing import SurgeryError
from models.networks.types import as_module
from models.pipeline.fine_tune import read_snapshot
from models.pipeline.progress import Progress
from models.pipeline.setup import split_pack
from models.pipeline.snapshots import Pace, Snapshotter
from models.pretraining.backbone_objectives import build_objective
from models.pretraining.backbone_training import BackboneTraining, Images
from models.pretraining.messages import BackbonePretrained, EpochPretrained
from models.runtime import devices
from models.runtime.rng import seed_epoch
from models.runtime.supervisor_callbacks import Context
from models.training.loop import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.backbones.backbone import Backbone
    from models.datasets.pack import Pack
    from models.networks.feature_network import FeatureNetwork
    from models.pipeline.spec import PretrainingSpec
    from models.pretraining.messages import PretrainingEvent

OF_DROPPED_CLASSIFIER = ("label_names", "label_descriptions")
"""Keys of timm's configuration that say something of the classifier that the new backbone lacks."""


class PretrainingImpossible(Exception):
    """The images cannot be used to pretrain a backbone."""

    code: ClassVar[str] = "images_unfit"
    """The error's name in the API."""


class BackboneNotTrainable(SurgeryError):
    """The backbone has no weights that could be trained."""

    code = "backbone_not_trainable"


def pretrain_backbone(spec: PretrainingSpec, pack: Pack, context: Context | None = None) -> Iterator[PretrainingEvent]:
    """Pretrain a backbone by a spec; yields messages, of which the last is BackbonePretrained.

    Its images are those of the dataset that a job with the default fractions trains on, and those without labels, so
    that what such a job tests on has not been seen. Its classifier is dropped: a job gives it a new one.

    Raises BackboneError, SurgeryError, PretrainingImpossible, TrainingDiverged.
    """
    began, context = time.monotonic(), context or Context()
    state = yield from read_snapshot(spec.snapshot)
    began -= state["elapsed"] if state else 0.0
    pace = Pace(spec.snapshot_seconds, context.snapshot_requested)
    snapshotter = Snapshotter(spec.folder, pace, began)
    chosen = choose_images(pack, spec)
    named = spec.backbone
    backbone = backbones.load(named.name, spec.local_backbones, spec.image_size, named.folder, named.commit)
    identity = {"architecture": backbone.architecture, "model_args": backbone.model_args}
    feature_network = cut_before_classifier(backbone.network, backbone.preprocessing.input_size, identity)
    training = _start(spec, backbone, feature_network, Images(pack, chosen, backbone.preprocessing), context)
    if state:
        training.load_state_dict(state)
        epoch, step = len(training.losses), training.steps_done
        message = f"Resumed after epoch {epoch}, step {step}"
        yield Noted(kind="resumed_from_snapshot", message=message, data={"epoch": epoch, "step": step})
    else:
        message = f"Pretraining {named.name} on {len(chosen)} images by the method {spec.method.kind}"
        yield Noted(kind="pretraining", message=message, data={"images": len(chosen)})
    yield from _train(training, snapshotter)
    yield _write(spec, backbone, feature_network, training, time.monotonic() - began)


def choose_images(pack: Pack, spec: PretrainingSpec) -> np.ndarray:
    """Choose the images that a backbone is pretrained on: their numbers, (n,). Raises PretrainingImpossible."""
    unlabelled = np.flatnonzero(pack.splits == SPLIT_CODES.index(UNLABELLED))
    is_labelled = len(unlabelled) < len(pack)
    if spec.method.kind == "supervised" and (not is_labelled or pack.is_multi_label):
        raise PretrainingImpossible(
            "The method supervised needs a dataset whose images have one label each: choose another method, or another "
            "dataset."
        )
    train = split_pack(pack, len(spec.dataset.classes), Recipe())[0].images if is_labelled else unlabelled[:0]
    chosen = train if spec.method.kind == "supervised" else np.sort(np.concatenate([train, unlabelled]))
    if len(chosen) < LEAST_IMAGES:
        raise PretrainingImpossible(
            f"The dataset has {len(chosen)} images to pretrain on, without those that a job would validate or test on; "
            f"{LEAST_IMAGES} are needed. Add images; a thousand and more are worth while."
        )
    return chosen


def _start(
    spec: PretrainingSpec, backbone: Backbone, feature_network: FeatureNetwork, images: Images, context: Context
) -> BackboneTraining:
    """Unfreeze the whole network, and build the objective over it. Raises SurgeryError."""
    whole = cut_at(feature_network, Nothing())
    if not whole.stages:
        raise BackboneNotTrainable(f"{spec.backbone.name} has no weights that can be trained; choose another backbone.")
    seed_epoch(spec.seed, 0)
    objective = build_objective(spec.method, feature_network, len(spec.dataset.classes))
    whole.set_modes(len(whole.stages), norms_train=True)
    device = devices.choose(spec.device)
    return BackboneTraining(spec.method, objective.to(device), images, spec.seed, device, context.heartbeat)


def _train(training: BackboneTraining, snapshotter: Snapshotter) -> Iterator[PretrainingEvent]:
    """Train, report progress, and write snapshots."""
    epochs, steps = training.method.epochs, training.steps
    of_epoch = steps * training.batch_size
    progress = Progress(0, epochs * of_epoch, share_above=1.0)
    progress.start_phase(steps=epochs * steps, epochs=epochs)
    done = len(training.losses) * steps + training.steps_done
    progress.resume(len(training.losses), done, done * training.batch_size)
    for event in training.train():
        if isinstance(event, Step):
            yield from progress.count_step(event.images, 0, event.images)
        else:
            yield event
            yield progress.end_epoch(event.epoch)
        is_epoch = isinstance(event, EpochPretrained)
        yield from snapshotter.save(training.state_dict, len(training.losses), ends_epoch=is_epoch)


def _write(
    spec: PretrainingSpec,
    backbone: Backbone,
    feature_network: FeatureNetwork,
    training: BackboneTraining,
    seconds: float,
) -> BackbonePretrained:
    """Write the folder of the new backbone, and load it as jobs will."""
    network = feature_network.network
    as_module(network).cpu().eval().requires_grad_(False)
    if isinstance(network, GraphNetwork):
        network = network.simplify()  # its classifier is one of a single class already
    else:
        network.reset_classifier(0)
    of_other = (*OF_OTHER_WEIGHTS, *OF_DROPPED_CLASSIFIER)
    cfg = {key: value for key, value in backbone.pretrained_cfg.items() if key not in of_other}
    backbone_folder.write_network(spec.folder, network, backbone.architecture, backbone.model_args, cfg)
    written = backbones.imported.load_folder(backbone_folder.NAME, spec.folder)
    inspection = inspect(written.network, written.preprocessing.input_size)
    return BackbonePretrained(
        summary=backbone_folder.summarize(written, inspection),
        inspection=inspection,
        files=backbone_folder.list_files(spec.folder),
        images=len(training.images.chosen),
        losses=training.losses,
        from_digest=backbone.digest,
        digest=written.digest,
        seconds=round(seconds, 3),
    )
