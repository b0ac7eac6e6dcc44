"""Errors of jobs."""

from service.errors import Conflict, NotFound, Unprocessable


class JobNotFound(NotFound):
    """No job has this id."""

    code = "job_not_found"


class WrongState(Conflict):
    """The job's state does not allow the transition."""

    code = "wrong_state"


class JobNotFinished(Conflict):
    """Only a finished job can be deleted."""

    code = "job_not_finished"


class DatasetUnknown(Unprocessable):
    """The job names a dataset that does not exist."""

    code = "dataset_unknown"


class DatasetNotReady(Unprocessable):
    """The job names a dataset that is not validated, or failed validation."""

    code = "dataset_not_ready"


class DatasetUnlabelled(Unprocessable):
    """The job names a dataset whose images have no labels."""

    code = "dataset_unlabelled"


class RecipeDoesNotFit(Unprocessable):
    """The recipe needs something that the dataset lacks, such as one label per image."""

    code = "recipe_does_not_fit"


class BackboneUnknown(Unprocessable):
    """The job names a backbone that this service does not know."""

    code = "backbone_unknown"


class ClassUnknown(Unprocessable):
    """The recipe names a class that the dataset does not have."""

    code = "class_unknown"
