"""Errors of checkpoints."""

from service.errors import GraftError, NotFound, Unprocessable


class CheckpointNotFound(NotFound):
    """No checkpoint has this id."""

    code = "checkpoint_not_found"


class FormatNotOffered(Unprocessable):
    """The checkpoint cannot be had in this form."""

    code = "format_not_offered"


class CheckpointDamaged(GraftError):
    """The stored bytes are not those that were written."""

    code = "checkpoint_damaged"


class ContentsCollected(GraftError):
    """Stored tensors were collected, because no checkpoint had named them for long: store them once more."""

    code = "contents_collected"
