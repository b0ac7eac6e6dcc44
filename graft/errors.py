"""Errors of the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


class GraftError(Exception):
    """The service refused the call: `status` and `code` name the error, the message has the remedy."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code

    @classmethod
    def from_response(cls, response: httpx.Response) -> GraftError:
        """Build the error of a response that has been read; a proxy's may be no problem+json."""
        if "json" not in response.headers.get("content-type", ""):
            return cls(response.status_code, "http_error", f"{response.url} answered {response.status_code}")
        problem = response.json()
        return cls(response.status_code, problem.get("code", "http_error"), problem.get("detail", str(problem)))


class DownloadDamaged(Exception):
    """The downloaded bytes differ from the service's; nothing was kept."""
