"""A storage that does not answer: a file system of fsspec's whose every call fails as a network does."""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

URL = "unreachable://bucket"


class UnreachableFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Fails to list, and so to find anything."""

    protocol = "unreachable"

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Fail with an error that is no OSError, as the errors of S3's client are."""
        raise RuntimeError(f"no answer for {path}")

    def find(self, path: str, *_: Any, **__: Any) -> list[str]:
        """Fail too: by default errors of `ls` are left out."""
        raise RuntimeError(f"no answer for {path}")

    def exists(self, path: str, **_: Any) -> bool:
        """Fail too: by default a path that cannot be listed does not exist."""
        raise RuntimeError(f"no answer for {path}")


def register() -> str:
    """Register the file system; returns its URL for GRAFT_STORAGE_URL."""
    fsspec.register_implementation("unreachable", UnreachableFileSystem, clobber=True)
    return URL
