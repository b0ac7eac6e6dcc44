"""Errors of datasets."""

from service.errors import Conflict, NotFound, TooLarge, Unprocessable


class DatasetNotFound(NotFound):
    """No dataset has this id."""

    code = "dataset_not_found"


class DatasetInUse(Conflict):
    """A job uses the dataset."""

    code = "dataset_in_use"


class DatasetNotValidated(Conflict):
    """The dataset has no images and no list of skipped files: it is being validated, or was rejected."""

    code = "dataset_not_validated"


class ImageNotFound(NotFound):
    """The dataset has no image with this digest."""

    code = "image_not_found"


class LabelUnknown(Unprocessable):
    """The dataset has no class of this name."""

    code = "label_unknown"


class FlagUnknown(Unprocessable):
    """Images have no flag of this name."""

    code = "flag_unknown"


class FlagsNotRecorded(Conflict):
    """An earlier release has validated the dataset, which did not record this flag."""

    code = "flags_not_recorded"


class NotAnArchive(Unprocessable):
    """The body is not a .zip, .tar or .tar.gz."""

    code = "not_an_archive"


class ArchiveTooLarge(TooLarge):
    """The upload is larger than this deployment accepts."""

    code = "archive_too_large"


class ImportNotOffered(Unprocessable):
    """The request asks to import a dataset from a URL."""

    code = "import_not_offered"


class SliceUnknown(Unprocessable):
    """No image can be in a slice of this name, or what images are sliced by is not said."""

    code = "slice_unknown"
