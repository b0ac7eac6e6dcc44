"""The report of an import in words: what was found, and what to do next."""

from __future__ import annotations

from typing import Any

from graft.backbone_report import describe

BACKBONE: dict[str, Any] = {
    "id": "bb_1",
    "name": "net.onnx",
    "status": "ready",
    "architecture": "graph",
    "parameters": 1234567,
    "input_size": [3, 64, 64],
    "licence": None,
    "digest": "sha256:00",
    "format": "onnx",
    "bytes": 4096,
    "error": None,
    "import_report": None,
    "pretrained_from": None,
}
REPORT: dict[str, Any] = {
    "route": "ONNX, read by Graft's own importer",
    "matched": 42,
    "left": ["a softmax at the end"],
    "classes": 10,
    "labels": None,
    "verdict": "verified",
    "numeric": {
        "message": "It agrees with onnxruntime.",
        "comparisons": [
            {
                "images": "random",
                "batch": 3,
                "count": 3,
                "greatest_difference": 1e-6,
                "spread": 0.24,
                "top1_agreement": 1.0,
            }
        ],
    },
    "structure": {"cuts": 21, "exact_cuts": ["conv1", "pool"]},
    "preprocessing": {"used": {"mean": [0.5, 0.5, 0.5]}, "assumed": ["crop_pct: 0.875"]},
    "samples": {"accuracy": 0.9, "images": 20, "measured_by": "classifier"},
    "notes": ["The batch is left open."],
}


def test_a_ready_one_shows_how_it_was_checked_and_how_to_train_on_it() -> None:
    text = "\n".join(describe({**BACKBONE, "import_report": REPORT}))
    for part in (
        "bb_1 (net.onnx): ready",
        "1,234,567 parameters, input 3x64x64",
        "42 tensors",
        "left out: a softmax at the end",
        "10 classes, without names",
        "verified: it computes what the original computes",
        "3 random images in batches of 3: greatest difference 1e-06 of 0.24",
        "21 cuts; halves equal the whole to the bit at conv1, pool",
        "accuracy on 20 samples: 90.0%",
        "preprocessing: mean=0.5,0.5,0.5",
        "assumed: crop_pct: 0.875",
        "The batch is left open.",
        "graft train IMAGES --backbone bb_1",
    ):
        assert part in text


def test_one_that_lacks_its_preprocessing_shows_the_command_that_brings_it() -> None:
    proposal = {"mean": [0.485, 0.456, 0.406], "std": None, "channel_order": "rgb"}
    failed = {
        **BACKBONE,
        "status": "failed",
        "architecture": None,
        "error": {"code": "preprocessing_needed", "message": "Say mean and std."},
        "import_report": {"preprocessing": {"proposal": proposal}},
    }
    lines = describe(failed)
    assert "Say mean and std." in lines
    command = "graft backbones preprocessing bb_1"
    assert f"If that is right: {command} mean=0.485,0.456,0.406,channel_order=rgb" in lines
    assert lines[-1].endswith(f"{command} from_samples --samples FOLDER")


def test_one_whose_file_was_kept_shows_what_corrects_it() -> None:
    error = {"code": "weights_unfit", "message": "The weights do not fit resnet34."}
    waiting = {**BACKBONE, "status": "failed", "architecture": None, "error": error, "hint": "POST …"}
    command = "graft backbones preprocessing bb_1 --architecture NAME"
    assert list(describe(waiting))[-1] == f"The file need not be sent again: {command}"
    assert list(describe({**waiting, "hint": None}))[-1] == "The weights do not fit resnet34."


def test_one_that_failed_or_waits_is_described_without_a_report() -> None:
    failed = {**BACKBONE, "status": "failed", "error": {"code": "file_broken", "message": "It is truncated."}}
    assert describe(failed)[-1] == "It is truncated."
    assert describe({**BACKBONE, "status": "importing"})[0] == "bb_1 (net.onnx): importing"


def test_one_that_was_pretrained_shows_its_losses_and_where_it_comes_from() -> None:
    pretraining = {"method": {"kind": "contrastive"}, "losses": [4.12345, 3.5, 1.25], "images": 1200}
    made = {**BACKBONE, "pretrained_from": "local/small", "pretrained_on": "ds_1", "pretraining": pretraining}
    lines = list(describe(made))
    assert "pretrained from local/small on ds_1: contrastive" in lines
    assert "loss 4.123 in the first epoch, 1.25 in the last, on 1,200 images" in lines
