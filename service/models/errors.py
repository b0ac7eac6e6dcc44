"""Errors of models."""

from service.errors import NotFound, Unprocessable


class ModelNotFound(NotFound):
    """No model has this name."""

    code = "model_not_found"


class CheckpointUnknown(Unprocessable):
    """The request names a checkpoint that does not exist."""

    code = "checkpoint_unknown"
