"""Errors of batch predictions."""

from __future__ import annotations

from service.errors import Conflict, NotFound, Unprocessable


class PredictionNotFound(NotFound):
    """No batch prediction has this id."""

    code = "prediction_not_found"


class PredictionNotFinished(Conflict):
    """The batch prediction has not ended: it cannot be deleted, and has no results yet."""

    code = "prediction_not_finished"


class NoResults(Conflict):
    """The batch prediction was cancelled, or has failed: it has no results."""

    code = "no_results"


class ModelNamedTwice(Unprocessable):
    """The request names a model twice."""

    code = "model_named_twice"
