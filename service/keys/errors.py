"""Errors of API keys."""

from service.errors import Forbidden, NotFound, Unauthorized

HOW = "Send it as the header `Authorization: Bearer KEY`; client and command line read GRAFT_API_KEY."


class KeyMissing(Unauthorized):
    """The service asks for an API key, and the request has none."""

    code = "key_missing"


class KeyInvalid(Unauthorized):
    """No API key has this secret."""

    code = "key_invalid"


class KeyRevoked(Unauthorized):
    """The API key was revoked."""

    code = "key_revoked"


class KeyExpired(Unauthorized):
    """The API key has expired."""

    code = "key_expired"


class ScopeMissing(Forbidden):
    """The API key does not allow this request."""

    code = "scope_missing"


class OriginNotAllowed(Forbidden):
    """A page of another site sent the request with the user's browser."""

    code = "origin_not_allowed"


class HostNotAllowed(Forbidden):
    """The request was sent to a name that is not this machine's."""

    code = "host_not_allowed"


class KeyNotFound(NotFound):
    """No API key has this id."""

    code = "key_not_found"
