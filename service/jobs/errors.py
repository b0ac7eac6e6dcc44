"""What can be wrong with a job that somebody asks for."""

from service.errors import Conflict, NotFound, Unprocessable


class JobNotFound(NotFound):
    """No job has this id."""


class JobNotFinished(Conflict):
    """A job that may still change cannot be deleted."""


class DatasetUnknown(Unprocessable):
    """The job names a dataset that does not exist."""


class DatasetNotReady(Unprocessable):
    """The job names a dataset that is not validated, or failed validation."""


class RecipeDoesNotFit(Unprocessable):
    """The recipe asks for what the dataset does not have, such as one label an image."""


class BackboneUnknown(Unprocessable):
    """The job names a backbone that this service does not know."""


class ClassUnknown(Unprocessable):
    """The recipe names a class that the dataset does not have."""
