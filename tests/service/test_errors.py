"""The codes of errors are part of the API: none changes because a class is renamed."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

import graft
import models
import service
from models.backbones.errors import BackboneError
from models.features.trunk import FeaturesNotFinite
from models.networks.tracing import SurgeryError
from models.training.loop import TrainingDiverged
from service.errors import GraftError

if TYPE_CHECKING:
    from collections.abc import Iterator

Error = TypeVar("Error", bound=Exception)

for package in (models, service):  # which make the subclasses of the classes above
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        import_module(module.name)

SERVICE_CODES = {
    "archive_too_large": 413,
    "backbone_not_found": 404,
    "backbone_unknown": 422,
    "backbones_not_listed": 503,
    "checkpoint_damaged": 500,
    "checkpoint_not_found": 404,
    "class_unknown": 422,
    "contents_collected": 500,
    "dataset_in_use": 409,
    "dataset_not_found": 404,
    "dataset_not_ready": 422,
    "dataset_unknown": 422,
    "dataset_not_validated": 409,
    "dataset_unlabelled": 422,
    "empty_body": 400,
    "form_malformed": 400,
    "format_not_offered": 422,
    "idempotency_key_reused": 422,
    "idempotency_key_spent": 409,
    "import_not_offered": 422,
    "job_not_finished": 409,
    "job_not_found": 404,
    "not_an_archive": 422,
    "position_unknown": 422,
    "recipe_does_not_fit": 422,
    "upload_cut_off": 400,
    "wrong_state": 409,
}
"""`code` and `status` of problems."""

WORK_CODES = {
    "backbone_error",
    "backbone_too_large",
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
"""`error.code` of jobs and backbones that failed."""

ARCHIVE_CODES = {
    "archive_duplicate_name",
    "archive_empty",
    "archive_nested",
    "archive_overlapping",
    "archive_too_large",
    "archive_unreadable",
    "class_folders_unclear",
    "class_too_small",
    "labels_ambiguous",
    "labels_too_large",
    "labels_unreadable",
    "labels_without_files",
    "no_class_folders",
    "no_images",
    "nothing_to_train_on",
    "nothing_to_validate_on",
    "too_few_classes",
    "too_many_bad_files",
    "too_many_classes",
    "validation_too_slow",
}
"""`error.code` of datasets that failed, beside archive_link, archive_encrypted,
archive_not_a_file and archive_unsafe_path."""

IMAGE_CODES = {
    "empty_file",
    "not_an_image",
    "too_elongated",
    "too_large",
    "too_many_parts",
    "too_many_scans",
    "too_small",
    "truncated",
    "unreadable",
}
"""`code` of images that a dataset's report says were skipped."""


def subclasses(kind: type[Error]) -> Iterator[type[Error]]:
    """Subclasses of a class, however deep."""
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_the_codes_of_problems_are_these() -> None:
    leaves = [error for error in subclasses(GraftError) if not error.__subclasses__()]
    assert {vars(error)["code"]: error.status for error in leaves} == SERVICE_CODES
    assert len(leaves) == len(SERVICE_CODES), "no two errors share a code"


def test_the_codes_of_work_that_failed_are_these() -> None:
    roots = (BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged)
    errors: list[type[Exception]] = [error for root in roots for error in (root, *subclasses(root))]
    assert {vars(error)["code"] for error in errors} == WORK_CODES
    assert len(errors) == len(WORK_CODES)


@pytest.mark.parametrize(("error", "codes"), [("DatasetRejected", ARCHIVE_CODES), ("BadImage", IMAGE_CODES)])
def test_the_codes_of_archives_and_images_are_these(error: str, codes: set[str]) -> None:
    packages = (models.__path__[0], graft.__path__[0])
    sources = [path.read_text() for package in packages for path in Path(package).rglob("*.py")]
    assert {code for source in sources for code in re.findall(rf'\b{error}\(\s*"([a-z_]+)"', source)} == codes
