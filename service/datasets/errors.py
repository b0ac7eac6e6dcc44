"""What can be wrong with a request about datasets."""

from service.errors import BadRequest, Conflict, NotFound, TooLarge, Unprocessable


class DatasetNotFound(NotFound):
    """No dataset has this id."""


class DatasetInUse(Conflict):
    """Jobs refer to the dataset."""


class NotAnArchive(Unprocessable):
    """The body is no .zip, .tar or .tar.gz."""


class EmptyBody(BadRequest):
    """Nothing was sent."""


class UploadCutOff(BadRequest):
    """Fewer bytes came than were announced."""


class ArchiveTooLarge(TooLarge):
    """The upload is larger than this deployment takes."""


class ImportNotOffered(Unprocessable):
    """The dataset is to be fetched from an address."""
