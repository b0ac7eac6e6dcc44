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
from models.conversion.errors import ConversionError
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
    "backbone_file_too_large": 413,
    "backbone_in_use": 409,
    "backbone_missing": 422,
    "backbone_named_twice": 422,
    "backbone_not_found": 404,
    "backbone_not_ready": 422,
    "backbone_not_uploaded": 409,
    "backbone_unknown": 422,
    "backbones_contradict": 422,
    "backbones_need_quality": 422,
    "backbones_not_listed": 503,
    "candidate_named_twice": 422,
    "checkpoint_damaged": 500,
    "checkpoint_in_use": 409,
    "checkpoint_named": 409,
    "checkpoint_not_found": 404,
    "checkpoint_unknown": 422,
    "class_unknown": 422,
    "contents_collected": 500,
    "dataset_in_use": 409,
    "dataset_not_found": 404,
    "dataset_not_ready": 422,
    "dataset_not_validated": 409,
    "dataset_unknown": 422,
    "dataset_unlabelled": 422,
    "empty_body": 400,
    "export_failed": 422,
    "export_not_found": 404,
    "export_option_unfit": 422,
    "flag_unknown": 422,
    "flags_not_recorded": 409,
    "form_malformed": 400,
    "format_not_offered": 422,
    "host_not_allowed": 403,
    "idempotency_key_reused": 422,
    "idempotency_key_spent": 409,
    "image_not_found": 404,
    "images_unfit": 422,
    "import_not_offered": 422,
    "job_not_finished": 409,
    "job_not_found": 404,
    "job_of_other_dataset": 422,
    "jobs_not_comparable": 422,
    "key_expired": 401,
    "key_invalid": 401,
    "key_missing": 401,
    "key_not_found": 404,
    "key_revoked": 401,
    "label_unknown": 422,
    "model_named_twice": 422,
    "model_not_found": 404,
    "models_missing": 422,
    "no_candidates": 422,
    "no_image": 422,
    "no_predictor": 503,
    "no_results": 409,
    "not_a_backbone": 422,
    "not_an_archive": 422,
    "origin_not_allowed": 403,
    "position_unknown": 422,
    "prediction_not_finished": 409,
    "prediction_not_found": 404,
    "predictions_not_found": 404,
    "predictor_lost": 503,
    "preprocessing_not_needed": 409,
    "push_address_refused": 422,
    "push_failed": 502,
    "push_refused": 422,
    "recipe_does_not_fit": 422,
    "recommendation_not_finished": 409,
    "recommendation_not_found": 404,
    "request_too_large": 413,
    "scope_missing": 403,
    "slice_unknown": 422,
    "teacher_does_not_fit": 422,
    "teacher_unknown": 422,
    "threshold_of_which_class": 422,
    "thresholds_of_all_classes": 422,
    "too_many_candidates": 422,
    "too_many_images": 422,
    "too_many_predictions": 422,
    "too_many_pushes": 503,
    "tus_version_unsupported": 412,
    "upload_checksum_mismatch": 460,
    "upload_cut_off": 400,
    "upload_dropped": 409,
    "upload_header_malformed": 400,
    "upload_incomplete": 422,
    "upload_locked": 423,
    "upload_not_found": 404,
    "upload_offset_mismatch": 409,
    "upload_too_large": 413,
    "upload_type_unsupported": 415,
    "upload_unknown": 422,
    "upload_used": 409,
    "wrong_state": 409,
}
"""`code` and `status` of problems."""

WORK_CODES = {
    "backbone_error",
    "backbone_not_trainable",
    "backbone_too_large",
    "backbone_unknown",
    "backbone_unsupported",
    "classes_differ",
    "classifier_unsupported",
    "configuration_broken",
    "conversion_error",
    "cut_unsupported",
    "disk_too_small",
    "extra_missing",
    "feature_map_unsupported",
    "features_not_finite",
    "file_broken",
    "file_missing",
    "head_unsupported",
    "input_size_unsupported",
    "no_backbone_usable",
    "pooling_unsupported",
    "surgery_error",
    "training_diverged",
    "tuning_unsupported",
    "unsupported_model",
    "unsupported_operator",
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
    "archive_name_not_utf8",
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

IMPORT_CODES = {
    "adapter",
    "architecture_needed",
    "architecture_only",
    "architecture_unbuildable",
    "architecture_unknown",
    "archive_unsafe",
    "archive_unsupported",
    "batch_dependent",
    "caffe",
    "channel_order_unsupported",
    "conversion_differs",
    "coreml",
    "cut_differs",
    "darknet",
    "diffusion_pipeline",
    "executorch",
    "extra_missing",
    "file_broken",
    "file_unsafe",
    "flax",
    "folder_differs",
    "format_differs",
    "format_unknown",
    "frozen_graph",
    "gguf",
    "git_lfs_pointer",
    "gradient_not_finite",
    "html_page",
    "incomplete_folder",
    "input_size_differs",
    "labels_unfit",
    "mxnet",
    "ncnn",
    "not_a_network",
    "not_finite",
    "openvino_ir",
    "paddle",
    "pickle",
    "pickled_module",
    "preprocessing_contradicts",
    "preprocessing_needed",
    "preprocessing_unusable",
    "pt2",
    "rknn",
    "samples_needed",
    "samples_unusable",
    "settings_unusable",
    "several_networks",
    "single_array",
    "sklearn_model",
    "tensorflow_checkpoint",
    "tensorflow_js",
    "tensorrt",
    "torchscript",
    "unsupported_model",
    "untrainable",
    "weights_missing",
    "weights_unfit",
}
"""`error.code` of imported backbones that failed, beside those of conversions and of other backbones."""


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
    roots = (BackboneError, ConversionError, SurgeryError, FeaturesNotFinite, TrainingDiverged)
    errors: list[type[Exception]] = [error for root in roots for error in (root, *subclasses(root))]
    assert {vars(error)["code"] for error in errors} == WORK_CODES


@pytest.mark.parametrize(
    ("error", "codes"),
    [
        ("DatasetRejected", ARCHIVE_CODES),
        ("BadImage", IMAGE_CODES),
        ("ImportRejected|Refusal", IMPORT_CODES),
    ],
)
def test_the_codes_of_files_are_these(error: str, codes: set[str]) -> None:
    packages = (models.__path__[0], graft.__path__[0])
    sources = [path.read_text() for package in packages for path in Path(package).rglob("*.py")]
    assert {code for source in sources for code in re.findall(rf'\b(?:{error})\(\s*"([a-z0-9_]+)"', source)} == codes
