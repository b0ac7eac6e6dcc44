"""Errors of checkpoints."""

from service.errors import Conflict, GraftError, NotFound, Unprocessable


class CheckpointNotFound(NotFound):
    """No checkpoint has this id."""

    code = "checkpoint_not_found"


class CheckpointInUse(Conflict):
    """A job that has not ended goes on from the checkpoint, or distils it."""

    code = "checkpoint_in_use"


class CheckpointNamed(Conflict):
    """The name of a model points at the checkpoint."""

    code = "checkpoint_named"


class FormatNotOffered(Unprocessable):
    """The checkpoint is not available in this format."""

    code = "format_not_offered"


class CheckpointDamaged(GraftError):
    """The stored bytes differ from the written ones."""

    code = "checkpoint_damaged"


class ContentsCollected(GraftError):
    """Stored tensors were collected because no checkpoint named them: store them again."""

    code = "contents_collected"
