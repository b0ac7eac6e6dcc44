"""Errors of pushes. Their texts never hold the token of the request."""

from service.errors import GraftError, Unavailable, Unprocessable


class PushAddressRefused(Unprocessable):
    """The address is not one that this service sends files to."""

    code = "push_address_refused"


class PushRefused(Unprocessable):
    """The other service refuses what the request asks for."""

    code = "push_refused"


class PushFailed(GraftError):
    """The other service does not answer, or fails; nothing was published."""

    status = 502
    code = "push_failed"


class TooManyPushes(Unavailable):
    """This process streams as many pushes as it may at once."""

    code = "too_many_pushes"
    retry_after = 10
