"""Errors of jobs."""

from service.errors import Conflict, NotFound, Unprocessable


class JobNotFound(NotFound):
    """No job has this id."""

    code = "job_not_found"


class JobNotFinished(Conflict):
    """Only a finished job can be deleted."""

    code = "job_not_finished"


class JobsNotComparable(Unprocessable):
    """A comparison needs several jobs, and not too many."""

    code = "jobs_not_comparable"


class PredictionsNotFound(NotFound):
    """The job has no predictions for its images: it has not ended, is of an earlier release, or lost its checkpoint."""

    code = "predictions_not_found"


class ThresholdsOfAllClasses(Unprocessable):
    """Thresholds of one class are asked for, and the images of the job have one class each."""

    code = "thresholds_of_all_classes"


class ThresholdOfWhichClass(Unprocessable):
    """A threshold is asked for without a class, and the images of the job may have several."""

    code = "threshold_of_which_class"


class JobOfOtherDataset(Unprocessable):
    """The job was trained on another dataset than the one whose images are asked for."""

    code = "job_of_other_dataset"


class DatasetUnknown(Unprocessable):
    """The job names a dataset that does not exist."""

    code = "dataset_unknown"
    loc = "body.dataset"


class DatasetNotReady(Unprocessable):
    """The job names a dataset that is not validated, or failed validation."""

    code = "dataset_not_ready"
    loc = "body.dataset"


class DatasetUnlabelled(Unprocessable):
    """The job names a dataset whose images have no labels."""

    code = "dataset_unlabelled"
    loc = "body.dataset"


class RecipeDoesNotFit(Unprocessable):
    """The recipe needs something that the dataset lacks, such as one label per image."""

    code = "recipe_does_not_fit"
    loc = "body.recipe"


class BackboneMissing(Unprocessable):
    """The job names no backbone."""

    code = "backbone_missing"
    loc = "body.backbone"


class BackbonesContradict(Unprocessable):
    """The request names one backbone, and several."""

    code = "backbones_contradict"
    loc = "body.backbones"


class BackbonesNeedQuality(Unprocessable):
    """The request names several backbones, and its recipe has no quality that tries them."""

    code = "backbones_need_quality"
    loc = "body.backbones"


class BackboneNamedTwice(Unprocessable):
    """The request names a backbone twice."""

    code = "backbone_named_twice"
    loc = "body.backbones"


class BackboneUnknown(Unprocessable):
    """The job names a backbone that this service does not know."""

    code = "backbone_unknown"
    loc = "body.backbone"


class BackboneNotReady(Unprocessable):
    """The job names an uploaded backbone that is not imported, or whose import failed."""

    code = "backbone_not_ready"
    loc = "body.backbone"


class TeacherUnknown(Unprocessable):
    """The recipe distils a checkpoint that does not exist."""

    code = "teacher_unknown"
    loc = "body.recipe.distillation.teacher"


class TeacherDoesNotFit(Unprocessable):
    """The recipe distils a checkpoint of other classes, or of another task, than the dataset's."""

    code = "teacher_does_not_fit"
    loc = "body.recipe.distillation.teacher"


class ClassUnknown(Unprocessable):
    """The recipe names a class that the dataset does not have."""

    code = "class_unknown"
    loc = "body.recipe.loss.class_weights"
