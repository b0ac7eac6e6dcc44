"""Errors of the client."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


class GraftError(Exception):
    """The service refused the call: `status` and `code` name the error, the message has the remedy."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.code = status, code
        self.retry_after = retry_after
        """Seconds after which the same call may succeed, where the service is unavailable for now."""

    @classmethod
    def from_response(cls, response: httpx.Response) -> GraftError:
        """Build the error of a response that has been read; a proxy's may be no problem+json."""
        status, retry_after = response.status_code, read_retry_after(response)
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "detail" not in problem:
            return cls(status, "http_error", f"{response.url} answered {status}", retry_after)
        return cls(status, problem.get("code", "http_error"), str(problem["detail"]), retry_after)

    @classmethod
    def from_stranger(cls, response: httpx.Response) -> GraftError:
        """Build the error of an answer that Graft would not give."""
        answer = f"{response.url} answered {response.status_code} without a JSON object"
        return cls(response.status_code, "http_error", f"{answer}: another program may listen there; set GRAFT_URL")


def read_retry_after(response: httpx.Response) -> float | None:
    """Read the seconds after which a 429 or 503 asks to be tried again (RFC 9110, 10.2.3); None if it does not."""
    value = response.headers.get("retry-after")
    if response.status_code not in (429, 503) or value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


class DownloadDamaged(Exception):
    """The downloaded bytes differ from the service's; nothing was kept."""


class InputUnusable(Exception):
    """A recipe, images or an output that a command cannot use; the message says what to do."""


class WorkFailed(Exception):
    """A dataset or a job has ended without a result; `code` names the reason, the message has the remedy."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
