"""Error codes that users may rely on: they do not change, whatever the classes are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones.errors import BackboneError
from models.features.trunk import FeaturesNotFinite
from models.networks.tracing import SurgeryError
from models.pipeline import fine_tune
from models.training.loop import TrainingDiverged

if TYPE_CHECKING:
    from collections.abc import Iterator

CODES = {
    "backbone_error",
    "backbone_unknown",
    "classes_differ",
    "classifier_unsupported",
    "configuration_broken",
    "cut_unsupported",
    "features_not_finite",
    "head_unsupported",
    "input_size_unsupported",
    "surgery_error",
    "training_diverged",
    "untraceable",
    "weights_broken",
    "weights_unavailable",
    "weights_unfit",
    "weights_unsafe",
}


def kinds(error: type[Exception]) -> Iterator[type[Exception]]:
    """The class and all classes below it."""
    yield error
    for kind in error.__subclasses__():
        yield from kinds(kind)


def test_every_error_that_fails_a_job_has_a_code_of_its_own() -> None:
    assert fine_tune.__name__  # all errors are imported with it
    errors = [
        kind for root in (BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged) for kind in kinds(root)
    ]
    assert all("code" in vars(error) for error in errors)
    codes = [vars(error)["code"] for error in errors]
    assert len(codes) == len(set(codes))
    assert set(codes) == CODES
