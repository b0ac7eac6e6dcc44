"""What the client raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


class GraftError(Exception):
    """The service said no: `status` and `code` name the error, the message says what to do."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code

    @classmethod
    def of(cls, response: httpx.Response) -> GraftError:
        """The error of a response that has been read; of a proxy's, which is no problem+json, too."""
        if "json" not in response.headers.get("content-type", ""):
            return cls(response.status_code, "http_error", f"{response.url} answered {response.status_code}")
        said = response.json()
        return cls(response.status_code, said.get("code", "http_error"), said.get("detail", str(said)))


class DownloadDamaged(Exception):
    """The bytes that came are not those that the service has; nothing was kept."""
