"""Start of a training: output biases, learning rate, linear discriminant analysis and head search, before any step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.training import lda
from models.training.class_priors import initialize_bias
from models.training.head_search import search_head
from models.training.loop import Training
from models.training.lr_range_test import resolve_rate

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.messages import HeadsSearched, Noted
    from models.training.inputs import TrainingRun


def start_training(run: TrainingRun) -> Generator[Noted | HeadsSearched, None, Training]:
    """Find where a training starts and at which rate; returns it before its first step. Raises TrainingDiverged."""
    if not run.recipe.cut.probe:
        initialize_bias(run)
    run = resolve_rate(run)
    fitted = None
    if run.recipe.fits_lda:
        fitted, note = lda.fit_to_run(run)
        yield note
    if fitted is not None and run.recipe.starts_from_lda:
        run.model.head.output.load_state_dict({"weight": fitted.weight, "bias": fitted.bias})
        fitted = None  # nothing else to compare with
    if run.recipe.search is not None:
        run, searched = search_head(run)
        yield searched
    return Training(run, lda=fitted)
