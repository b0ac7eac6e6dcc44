"""What can be wrong with a request about checkpoints."""

from service.errors import GraftError, NotFound, Unprocessable


class CheckpointNotFound(NotFound):
    """No checkpoint has this id."""


class FormatNotOffered(Unprocessable):
    """The checkpoint cannot be had in this form."""


class CheckpointDamaged(GraftError):
    """The stored bytes are not those that were written."""


class ContentsCollected(GraftError):
    """Tensors that were stored are gone again, because nothing had named them for long: store them once more."""
