"""Files of the Hugging Face Hub: of a pinned commit, resumed where a download broke off, verified, and once a machine.

Finding, caching and locking are huggingface_hub's own, so HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as
everywhere. It starts a download anew that its process did not survive, and compares sizes alone; so files are fetched
here, in parts that later attempts continue, and their digests are compared with those that the Hub states.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from models.backbones.errors import BackboneUnknown, DiskTooSmall, FileMissing, WeightsBroken, WeightsUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfFileMetadata

SPARE_BYTES = 256 << 20
"""Room that stays free on the disk of the Hub's files."""
CHUNK = 1 << 20
SHA1_DIGITS, SHA256_DIGITS = 40, 64
NAME = re.compile(r"hf/(?P<repository>[^/@]+/[^/@]+)(@(?P<revision>.+))?")


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub, at a revision."""

    name: str
    """The backbone's name, for messages."""
    id: str
    """ORG/REPO."""
    revision: str | None = None
    """Branch, tag or commit; None is the main branch."""

    @classmethod
    def from_name(cls, name: str, commit: str | None = None) -> Repository:
        """Parse hf/ORG/REPO or hf/ORG/REPO@REVISION, at this commit if one is pinned; raises BackboneUnknown."""
        found = NAME.fullmatch(name)
        if found is None:
            raise BackboneUnknown(f"{name} is no name of a repository: hf/ORG/REPO, or hf/ORG/REPO@REVISION.")
        return cls(name, found["repository"], commit or found["revision"])

    def pin(self, commit: str) -> Repository:
        """Get the repository at a commit."""
        return Repository(self.name, self.id, commit)

    @property
    def cache(self) -> Path:
        """The folder in which huggingface_hub keeps the repository's files."""
        return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.id, repo_type="model")

    def download(self, *filenames: str) -> Path:
        """Download files, unless they are there; returns their folder, whose name is the commit's id.

        The first file determines the commit of the others. Raises BackboneError.
        """
        first = self._download(filenames[0])
        pinned = self.pin(first.parent.name)
        missing = [(file, pinned._read_metadata(file)) for file in filenames[1:] if not pinned._find(file)]
        pinned._check_room([metadata for _, metadata in missing if metadata is not None])
        for filename in filenames[1:]:
            pinned._download(filename)
        return first.parent

    def has(self, filename: str) -> bool:
        """Tell whether the repository has a file, or the cache if the Hub cannot be reached. Raises BackboneError."""
        if self._find(filename):
            return True
        try:
            return self._read_metadata(filename) is not None
        except FileMissing:
            return False

    def _find(self, filename: str) -> Path | None:
        """Find a file of a commit in the cache."""
        path = self.cache / "snapshots" / (self.revision or "main") / filename
        return path if path.exists() else None

    def _read_metadata(self, filename: str) -> HfFileMetadata | None:
        """Ask the Hub for a file's commit, size and digest; None if it cannot be reached, or is not to be."""
        with self._name_errors(filename):
            try:
                return get_hf_file_metadata(hf_hub_url(self.id, filename, revision=self.revision))
            except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError):
                raise
            except Exception:  # of the network, of whatever library; then the cache counts
                return None

    def _download(self, filename: str) -> Path:
        """Download a file, and verify it; a damaged one is fetched once more."""
        for _ in range(2):
            path = self._get(filename)
            if _is_intact(path):
                return path
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise WeightsBroken(
            f"The {filename} of {self.name} has not the digest that the Hub states, even when it is downloaded again. "
            f"Check the network and the mirror ({constants.ENDPOINT}), and try again later."
        )

    def _get(self, filename: str) -> Path:
        metadata = None if self.revision and self._find(filename) else self._read_metadata(filename)
        if metadata is not None and metadata.etag and metadata.size and metadata.commit_hash:
            self._fetch(filename, metadata)
        with self._name_errors(filename):
            return Path(hf_hub_download(self.id, filename, revision=self.revision))

    def _fetch(self, filename: str, metadata: HfFileMetadata) -> None:
        """Fetch what is missing of a file into huggingface_hub's cache; one process at a time, others wait."""
        blob = self.cache / "blobs" / str(metadata.etag)
        if blob.exists():
            return
        lock = Path(constants.HF_HUB_CACHE) / ".locks" / self.cache.name / f"{metadata.etag}.lock"
        with self._name_errors(filename):
            for folder in (lock.parent, blob.parent):
                folder.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                if blob.exists():
                    return
                part = blob.with_name(f"{blob.name}.part.incomplete")
                self._check_room([metadata])
                self._continue(filename, part, metadata)
                if not _has_digest(part, str(metadata.etag)):
                    part.unlink()  # it was fetched from its beginning on, or another file's part was continued
                    self._continue(filename, part, metadata)
                part.replace(blob)

    def _continue(self, filename: str, part: Path, metadata: HfFileMetadata) -> None:
        headers = build_hf_headers()
        if metadata.location.split("/")[2] != constants.ENDPOINT.split("/")[2]:
            headers.pop("authorization", None)  # it is not for the machine that keeps the files
        try:
            with part.open("ab") as file:
                done = file.tell()
                http_get(metadata.location, file, resume_size=done, headers=headers, expected_size=metadata.size)
        except OSError:
            raise
        except Exception as error:  # errors of the HTTP library, whichever it is
            raise WeightsUnavailable(
                f"The download of {filename} of {self.name} broke off ({error}). Try again later: it continues where "
                "it stopped."
            ) from error

    def _check_room(self, files: list[HfFileMetadata]) -> None:
        """Check that the disk has room for files; raises DiskTooSmall."""
        blobs = self.cache / "blobs"
        parts = [blobs / f"{metadata.etag}.part.incomplete" for metadata in files]
        done = sum(part.stat().st_size for part in parts if part.exists())
        needed = sum(metadata.size or 0 for metadata in files) - done
        folder = next(folder for folder in (blobs, *blobs.parents) if folder.exists())
        free = shutil.disk_usage(folder).free
        if needed + SPARE_BYTES > free:
            raise DiskTooSmall(
                f"The files of {self.name} need {needed / 1e9:.2f} GB on the disk of {constants.HF_HUB_CACHE}, which "
                f"has {free / 1e9:.2f} GB free. Make room there, or let HF_HOME name a folder on another disk."
            )

    @contextmanager
    def _name_errors(self, filename: str) -> Iterator[None]:
        """Turn errors of the Hub into BackboneErrors that say what to do."""
        try:
            yield
        except GatedRepoError as error:
            raise WeightsUnavailable(
                f"The weights of {self.name} are gated. Accept their terms on {constants.ENDPOINT}/{self.id} and set "
                "HF_TOKEN, a token of that account, on the workers."
            ) from error
        except RevisionNotFoundError as error:
            raise BackboneUnknown(
                f"{self.name}: the Hub has {self.id}, but no branch, tag or commit {self.revision} of it."
            ) from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise BackboneUnknown(
                f"The Hub has no {self.name}. If it is private, set HF_TOKEN on the workers; else check the name."
            ) from error
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            at = f"@{self.revision}" if self.revision and "@" not in self.name else ""
            raise WeightsUnavailable(
                f"The {filename} of {self.name}{at} is not in the cache ({self.cache}), and the Hub cannot be reached. "
                "Check the workers' network, HF_ENDPOINT and HF_HUB_OFFLINE; or copy that folder from a machine that "
                "has it; or use a backbone of GRAFT_BACKBONES."
            ) from error
        except EntryNotFoundError as error:
            raise FileMissing(f"{self.name} has no {filename}.") from error
        except (HfHubHTTPError, OSError) as error:
            raise WeightsUnavailable(
                f"The Hub did not give {filename} of {self.name}: {error}. Try again later."
            ) from error


def _is_intact(path: Path) -> bool:
    """Compare a file with the digest after which huggingface_hub has named it, if it has."""
    return not path.is_symlink() or _has_digest(path, path.readlink().name)


def _has_digest(path: Path, etag: str) -> bool:
    """Compare a file with what the Hub states: SHA-256 of a large file, Git's SHA-1 of a small one."""
    if re.fullmatch("[0-9a-f]+", etag) is None or len(etag) not in (SHA1_DIGITS, SHA256_DIGITS):
        return True  # a mirror may name its files in its own way
    is_large = len(etag) == SHA256_DIGITS
    digest = hashlib.sha256() if is_large else hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == etag
