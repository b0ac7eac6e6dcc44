"""Settings of a deployment: environment variables GRAFT_*, every one with a default."""

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "GRAFT_"


class Settings(BaseSettings):
    """Settings of one process, read once at its start; the README's table lists them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, use_attribute_docstrings=True, frozen=True)

    data: Path = Path("graft-data")
    """Folder of the database, the storage, the cache and temporary files, where they have no setting of their own."""
    host: str = "127.0.0.1"
    """Address on which the API listens."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port on which the API listens."""
    database_url: str = ""
    """SQLAlchemy URL of SQLite or PostgreSQL; empty: SQLite in GRAFT_DATA."""
    broker_url: str = ""
    """redis://… for Celery to wake the workers; empty: workers only poll the database."""
    storage_url: str = ""
    """Folder of uploads, packs and training snapshots, an fsspec URL (file://, s3://); empty: one in GRAFT_DATA."""
    cache_dir: Path | None = None
    """The feature cache of this machine; unset: a folder in GRAFT_DATA."""
    cache_bytes: Annotated[int, Field(ge=1 << 20)] = 20 << 30
    """Largest size of the feature cache; what was used longest ago is removed first."""
    backbones: Path | None = None
    """A directory of local backbones in Hub layout, offered as local/NAME."""
    workers: PositiveInt = 1
    """Worker processes that `graft up` starts."""
    lease_seconds: PositiveFloat = 60.0
    """A worker that does not renew its lease for this long loses its work to another."""
    poll_seconds: PositiveFloat = 0.25
    """Interval at which an idle worker looks for work in the database."""
    max_crashes: PositiveInt = 3
    """Attempts of one job that may die without progress before the job fails."""
    snapshot_seconds: PositiveFloat = 60.0
    """Interval of training snapshots within an epoch: the most that is lost when a process dies."""
    drain_seconds: PositiveFloat = 25.0
    """Time that a worker, on SIGTERM, gives its running job to save a snapshot and end."""
    stall_seconds: PositiveFloat = 1800.0
    """A child process without progress for this long counts as hung, and is killed."""
    memory_bytes: Annotated[int, Field(ge=1 << 30)] | None = None
    """Most memory of a child process, which trains, validates or inspects; unset: half of the machine's."""
    max_archive_bytes: PositiveInt = 1 << 40
    """Largest upload, and largest total of an archive's unpacked files."""
    max_archive_files: PositiveInt = 5_000_000
    """Most files in one archive."""
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""

    @cached_property
    def database(self) -> str:
        """SQLAlchemy URL of the database: GRAFT_DATABASE_URL, or SQLite in GRAFT_DATA."""
        return self.database_url or f"sqlite:///{self.data.absolute() / 'graft.sqlite'}"

    @cached_property
    def storage(self) -> str:
        """URL of the storage: GRAFT_STORAGE_URL, or a folder in GRAFT_DATA."""
        return self.storage_url or (self.data.absolute() / "storage").as_uri()

    @cached_property
    def cache(self) -> Path:
        """Folder of the feature cache: GRAFT_CACHE_DIR, or one in GRAFT_DATA."""
        return (self.cache_dir or self.data / "cache").absolute()

    @property
    def address(self) -> str:
        """URL of the API, as seen from this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @cached_property
    def scratch(self) -> Path:
        """Folder of this machine's temporary files."""
        return (self.data / "scratch").absolute()


def from_environment() -> Settings:
    """Read the settings of this process; an invalid one ends it, in one line that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{PREFIX}{str(bad['loc'][0]).upper()}: {bad['msg']}" for bad in error.errors()]
        raise SystemExit("\n".join(lines)) from None
