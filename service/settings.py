"""Settings of a deployment: environment variables GRAFT_*, every one with a default."""

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "GRAFT_"


class Settings(BaseSettings):
    """Read once by each process at its start; the README's table is this class."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, use_attribute_docstrings=True, frozen=True)

    data: Path = Path("graft-data")
    """Folder of everything that the embedded default keeps."""
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
    """A worker that is silent for so long has lost its work to another."""
    poll_seconds: PositiveFloat = 0.25
    """How often an idle worker looks for work in the database."""
    max_crashes: PositiveInt = 3
    """Attempts of one job that may die, without getting further, before it counts as failed."""
    snapshot_seconds: PositiveFloat = 60.0
    """How much of an epoch may be lost when a process dies; the end of an epoch is kept anyway."""
    drain_seconds: PositiveFloat = 25.0
    """How long a worker that is told to stop waits for what it runs to save a snapshot and end."""
    stall_seconds: PositiveFloat = 1800.0
    """A process that gets nothing done for so long is taken to hang, and is ended."""
    max_archive_bytes: PositiveInt = 1 << 40
    """Largest upload, and largest total of an archive's unpacked files."""
    max_archive_files: PositiveInt = 5_000_000
    """Most files in one archive."""
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""

    @cached_property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data.absolute() / 'graft.sqlite'}"

    @cached_property
    def storage(self) -> str:
        """The storage URL in force."""
        return self.storage_url or (self.data.absolute() / "storage").as_uri()

    @cached_property
    def cache(self) -> Path:
        """The folder of the feature cache in force."""
        return (self.cache_dir or self.data / "cache").absolute()

    @cached_property
    def scratch(self) -> Path:
        """The folder of this machine's temporary files."""
        return (self.data / "scratch").absolute()


def from_environment() -> Settings:
    """Read the settings of this process; a bad one ends it, in one line that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{PREFIX}{str(bad['loc'][0]).upper()}: {bad['msg']}" for bad in error.errors()]
        raise SystemExit("\n".join(lines)) from None
