"""Errors of datasets."""

from service.errors import BadRequest, Conflict, NotFound, TooLarge, Unprocessable


class DatasetNotFound(NotFound):
    """No dataset has this id."""

    code = "dataset_not_found"


class DatasetInUse(Conflict):
    """A job uses the dataset."""

    code = "dataset_in_use"


class DatasetNotValidated(Conflict):
    """The dataset has no list of skipped files: it is being validated, or was rejected."""

    code = "dataset_not_validated"


class NotAnArchive(Unprocessable):
    """The body is not a .zip, .tar or .tar.gz."""

    code = "not_an_archive"


class FormMalformed(BadRequest):
    """The body is a form that does not hold exactly one file."""

    code = "form_malformed"


class EmptyBody(BadRequest):
    """The request has no body."""

    code = "empty_body"


class UploadCutOff(BadRequest):
    """The connection ended before the whole upload had arrived."""

    code = "upload_cut_off"


class ArchiveTooLarge(TooLarge):
    """The upload is larger than this deployment accepts."""

    code = "archive_too_large"


class ImportNotOffered(Unprocessable):
    """The request asks to import a dataset from a URL."""

    code = "import_not_offered"
