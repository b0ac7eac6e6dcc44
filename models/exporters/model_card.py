"""Model card in the Hub's format: YAML head, figures, data, recipe, limits, licence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "map", "micro_f1", "calibration_error", "loss")


def write(metadata: Mapping[str, str], *, for_hub: bool) -> str:
    """Write the card of a checkpoint from its file's metadata."""
    metrics, counts = json.loads(metadata["metrics"]), json.loads(metadata["counts"])
    classes, recipe = json.loads(metadata["class_names"]), json.loads(metadata["recipe"])
    test = metrics.get("test") or {}
    return "\n".join(
        [
            *_write_head(metadata, test),
            f"# {metadata['architecture']}, fine-tuned for {len(classes)} classes",
            "",
            f"A fine-tune of `{metadata['backbone']}`, made by Graft {metadata['graft_version']} in the job "
            f"`{metadata['job']}`.",
            "",
            f"Classes: {', '.join(classes)}.",
            "",
            "## Use",
            "",
            *(_HUB if for_hub else _BUNDLE),
            "",
            "## Figures",
            "",
            f"On {counts['test']} test images, which training did not see, as the delivered network computes them:"
            if test
            else "There were no test images.",
            "",
            *(f"- {name}: {test[name]:.4f}" for name in FIGURES if test.get(name) is not None),
            "",
            "## Data",
            "",
            f"{counts['train']} images to train on, {counts['validation']} to validate on and {counts['test']} to test "
            f"on; digest `{metadata['dataset_digest']}`.",
            "",
            "## Recipe",
            "",
            f"```json\n{json.dumps(recipe, indent=2)}\n```",
            "",
            "## Limits",
            "",
            "It gives one of its classes for any image, also for one of none of them. Its figures hold for images like "
            "those of the dataset. Its probabilities are calibrated on validation images.",
            "",
            "## Licence",
            "",
            f"The backbone's licence: {metadata['licence']}. That of the images and of this fine-tune is not known "
            "here.",
            "",
        ]
    )


_HUB = ("```python", "import timm", "", 'network = timm.create_model("hf-hub:ORG/NAME", pretrained=True)', "```")
_BUNDLE = ("```sh", "pip install -r requirements.txt", "python predict.py photo.jpg", "```")


def _write_head(metadata: Mapping[str, str], test: dict[str, Any]) -> list[str]:
    """Write the YAML head; strings are JSON, which YAML reads."""
    licence = metadata["licence"]
    results = [
        {"type": name, "value": round(test[name], 5), "name": name}
        for name in ("accuracy", "map", "macro_f1")
        if test.get(name)
    ]
    index = {
        "name": metadata["job"],
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": metadata["dataset_digest"], "type": "images"},
                "metrics": results,
            }
        ],
    }
    fields: dict[str, Any] = {
        "license": licence if licence != "unknown" else "other",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "graft"],
        "base_model": metadata["backbone"],
        **({"model-index": [index]} if results else {}),
    }
    return ["---", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "---", ""]
