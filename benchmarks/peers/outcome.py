"""Outcomes: what one whole job took, and how good it was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One job of one library, from encoded images to an accuracy on the test split."""

    process_seconds: float
    """Of the whole process, imports included; of Graft, whose workers have them behind them, the same as `seconds`."""
    seconds: float
    """Without imports; of Graft from POST to succeeded."""
    epochs: int | None
    """None where there are none, or where the library does not tell."""
    epoch_seconds: float | None
    """Median, validation included; of Graft over the epochs that read every view from the cache."""
    validation: float
    """Accuracy, a fraction."""
    test: float
