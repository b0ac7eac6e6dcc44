"""Errors of exports."""

from service.errors import NotFound, Unprocessable


class ExportNotFound(NotFound):
    """No export of the checkpoint has this id."""

    code = "export_not_found"


class ExportFailed(Unprocessable):
    """The checkpoint cannot be exported so; the message says why."""

    code = "export_failed"


class ExportOptionUnfit(Unprocessable):
    """The format does not have this option."""

    code = "export_option_unfit"
