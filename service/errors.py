"""Errors that a caller can act on: the tree that every noun's own errors derive from.

GraftError
├── BadRequest 400
├── NotFound 404        (one per noun: DatasetNotFound, JobNotFound, …)
├── Conflict 409        the state of things does not allow it now
├── TooLarge 413
├── Unprocessable 422   well-formed, but it cannot be done as asked
└── Unavailable 503     not now; the same request may work later

`problems` makes HTTP of them. Workers raise and catch them too, so nothing here knows HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class GraftError(Exception):
    """An error that its reader can act on. `detail` says what happened and what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str]
    """Part of the API: set by each error that is raised, never derived from the name of its class."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(GraftError):
    """The request itself is malformed."""

    status = 400


class NotFound(GraftError):
    """There is no such thing, or no longer."""

    status = 404


class Conflict(GraftError):
    """The present state does not allow it."""

    status = 409


class TooLarge(GraftError):
    """More bytes than this deployment takes."""

    status = 413


class Unprocessable(GraftError):
    """Well-formed, but it cannot be done as asked."""

    status = 422


class Unavailable(GraftError):
    """Not now; the same request may work later."""

    status = 503
