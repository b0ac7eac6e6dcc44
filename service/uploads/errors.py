"""Errors of uploads."""

from service.errors import BadRequest, Conflict, GraftError, NotFound, TooLarge, Unprocessable


class FormMalformed(BadRequest):
    """The body is a form that does not hold the one file, or the fields, that are expected."""

    code = "form_malformed"


class EmptyBody(BadRequest):
    """The request has no body."""

    code = "empty_body"


class UploadCutOff(BadRequest):
    """The connection ended before the whole upload had arrived."""

    code = "upload_cut_off"


class UploadNotFound(NotFound):
    """No resumable upload has this id; it may have expired."""

    code = "upload_not_found"


class UploadHeaderMalformed(BadRequest):
    """A header of the tus protocol is missing, or not as the protocol has it."""

    code = "upload_header_malformed"


class TusVersionUnsupported(GraftError):
    """The request follows no version of tus, or another than 1.0.0."""

    status = 412
    code = "tus_version_unsupported"


class UploadTypeUnsupported(GraftError):
    """The body of a piece is not marked as one, or is compressed."""

    status = 415
    code = "upload_type_unsupported"


class UploadTooLarge(TooLarge):
    """The upload is larger than this deployment accepts, or than its sender has announced."""

    code = "upload_too_large"


class OffsetMismatch(Conflict):
    """The piece does not begin where the upload ends."""

    code = "upload_offset_mismatch"


class UploadLocked(GraftError):
    """Another request adds to the upload at the same time."""

    status = 423
    code = "upload_locked"


class ChecksumMismatch(GraftError):
    """The piece differs from its checksum; it is not kept."""

    status = 460  # as tus has it
    code = "upload_checksum_mismatch"


class UploadUsed(Conflict):
    """A dataset or a backbone has been made of the upload."""

    code = "upload_used"


class UploadUnknown(Unprocessable):
    """The source of a dataset or a backbone is an upload that does not exist."""

    code = "upload_unknown"


class UploadIncomplete(Unprocessable):
    """The source of a dataset or a backbone is an upload that has not arrived as a whole."""

    code = "upload_incomplete"
