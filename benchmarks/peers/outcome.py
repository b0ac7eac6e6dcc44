"""Outcome of a job: seconds, epochs and accuracies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Figures of one job of one library, from encoded images to test accuracy."""

    process_seconds: float
    """Seconds of the whole process, imports included; for Graft, whose workers are running, the same as `seconds`."""
    seconds: float
    """Seconds without imports; for Graft, from POST to succeeded."""
    epochs: int | None
    """None where there are no epochs, or the library does not report them."""
    epoch_seconds: float | None
    """Median seconds of an epoch, validation included; for Graft, of epochs that read all features from the cache."""
    validation: float
    """Validation accuracy, a fraction."""
    test: float
