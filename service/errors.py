"""Errors that a caller can act on: the base classes of all errors of the service.

GraftError
├── BadRequest 400
├── Unauthorized 401    an API key is missing or not valid
├── Forbidden 403       the API key does not allow it, or another site's page asks
├── NotFound 404        (one per resource: DatasetNotFound, JobNotFound, …)
├── Conflict 409        the resource's state does not allow it now
├── TooLarge 413
├── Unprocessable 422   well-formed, but it cannot be done as asked
└── Unavailable 503     the same request may succeed later

`problems` turns them into HTTP responses. Workers raise and catch them too, so nothing here depends on HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class GraftError(Exception):
    """An error that a caller can act on: `detail` is what happened, and what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str]
    """Part of the API: set by each error that is raised, never derived from the name of its class."""
    loc: str | None = None
    """Field of the request that is wrong, where it is known; problems list it among their `errors`."""
    retry_after: ClassVar[int | None] = None
    """Seconds after which the same request is worth another try; None where that would not help by itself."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(GraftError):
    """The request itself is malformed."""

    status = 400


class Unauthorized(GraftError):
    """The request needs a valid API key."""

    status = 401


class Forbidden(GraftError):
    """The request is not allowed to whoever sent it."""

    status = 403


class NotFound(GraftError):
    """The resource does not exist, or was deleted."""

    status = 404


class Conflict(GraftError):
    """The resource's state does not allow the request."""

    status = 409


class WrongState(Conflict):
    """The state of a job or batch prediction does not allow the transition."""

    code = "wrong_state"


class TooLarge(GraftError):
    """The body is larger than this deployment accepts."""

    status = 413


class Unprocessable(GraftError):
    """The request is well-formed, but cannot be fulfilled."""

    status = 422


class Unavailable(GraftError):
    """The request cannot be served now; it may succeed later."""

    status = 503
