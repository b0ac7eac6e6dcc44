"""Write the predictions of a fine-tuned model for each validation and test image, beside its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.evaluation.image_predictions import write_predictions

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from models.pipeline.setup import Prepared


def write_predictions_file(
    path: Path, ready: Prepared, validation_logits: np.ndarray, test_logits: np.ndarray | None
) -> None:
    """Write the predictions of what is delivered: its logits (n, C); there may be no test images."""
    splits = {"validation": (ready.validation.images, validation_logits, ready.validation.labels)}
    if test_logits is not None:
        splits["test"] = (ready.test.images, test_logits, ready.test.labels)
    path.write_bytes(write_predictions(splits, ready.features.pack.names))
