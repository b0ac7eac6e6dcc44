"""Downloads of weights whose name holds the beginning of their SHA-256: once for all workers, resumed, and verified."""

from __future__ import annotations

import fcntl
import hashlib
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from models.backbones.errors import WeightsBroken, WeightsUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DIGEST = re.compile(r"-([0-9a-f]{8,64})\.")
"""Where a file's name holds the beginning of its SHA-256, as torch.hub has it."""
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0


def download(name: str, url: str, folder: Path) -> Path:
    """Download the weights of backbone `name` into a folder, unless they are there; returns the file.

    Of several processes one downloads, the others wait for it. HTTPS_PROXY works as everywhere. Raises
    WeightsUnavailable, WeightsBroken.
    """
    file = folder / url.rpartition("/")[2]
    try:
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / f"{file.name}.lock"):
                if not file.exists():
                    _fetch(url, file)
        is_whole = _is_whole(file)
    except (httpx.HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsUnavailable(
            f"The weights of {name} are not there, and could not be downloaded ({reason}). "
            f"Check the workers' network (HTTPS_PROXY), or put {url} into the folder {folder} (TORCH_HOME)."
        ) from error
    if not is_whole:
        raise WeightsBroken(
            f"The weights of {name} are damaged: {file} has another SHA-256 than its name says. Delete it, and it is "
            "downloaded again."
        )
    return file


def _fetch(url: str, file: Path) -> None:
    """Download to a file beside it, from where an earlier download broke off, and rename it once it is whole."""
    partial = file.with_name(f"{file.name}.partial")
    begin = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={begin}-"} if begin else {}
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    with httpx.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
        if begin and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # it is longer than the file; the next try begins anew
        answer.raise_for_status()
        with partial.open("ab" if answer.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as opened:
            for chunk in answer.iter_bytes(1 << 20):
                opened.write(chunk)
    if not _is_whole(partial, file.name):
        partial.unlink()
        raise OSError(f"what {url} gave has another SHA-256 than its name says")
    partial.replace(file)


def _is_whole(file: Path, name: str | None = None) -> bool:
    """Compare a file's SHA-256 with the beginning that its name holds; True if it holds none."""
    found = DIGEST.search(name or file.name)
    if found is None:
        return True
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest().startswith(found[1])


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for."""
    with file.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
