"""Errors of datasets."""

from service.errors import BadRequest, Conflict, NotFound, TooLarge, Unprocessable


class DatasetNotFound(NotFound):
    """No dataset has this id."""

    code = "dataset_not_found"


class DatasetInUse(Conflict):
    """Jobs refer to the dataset."""

    code = "dataset_in_use"


class NotAnArchive(Unprocessable):
    """The body is no .zip, .tar or .tar.gz."""

    code = "not_an_archive"


class EmptyBody(BadRequest):
    """Nothing was sent."""

    code = "empty_body"


class UploadCutOff(BadRequest):
    """Fewer bytes came than were announced."""

    code = "upload_cut_off"


class ArchiveTooLarge(TooLarge):
    """The upload is larger than this deployment takes."""

    code = "archive_too_large"


class ImportNotOffered(Unprocessable):
    """The dataset is to be fetched from an address."""

    code = "import_not_offered"
