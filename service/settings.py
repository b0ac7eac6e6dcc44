"""Settings of a deployment: environment variables GRAFT_*, every one with a default."""

import difflib
import os
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "GRAFT_"
SIMILAR = 0.8
"""Similarity from which a name is taken for a misspelled one; GRAFT_URL, of the client, is less similar to any."""
BROKERS = ("redis", "rediss", "redis+socket", "sentinel")
POSTGRESQL = "postgresql://USER:PASSWORD@HOST:5432/NAME"
ESCAPES = "in a user's name or password, @ is written %40, : is %3A, / is %2F and % is %25"


class Settings(BaseSettings):
    """Settings of one process, read once at its start; docs/settings.md lists them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,  # as container files write a variable that is not set
        str_strip_whitespace=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        frozen=True,
    )

    data: Path = Path("graft-data")
    """Folder of the database, the storage, the cache and temporary files, where they have no setting of their own."""
    host: str = "127.0.0.1"
    """Address on which the API listens."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port on which the API listens."""
    auth: Literal["auto", "on", "off"] = "auto"
    """auto: API keys are asked for unless the API listens on this machine alone; on: always; off: never."""
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
    """Interval of training snapshots within an epoch, and of a batch prediction's stored rows: the most that is lost
    when a process dies."""
    drain_seconds: PositiveFloat = 25.0
    """Time that a worker, on SIGTERM, gives its running job to save a snapshot and end."""
    stall_seconds: PositiveFloat = 1800.0
    """A child process without progress for this long counts as hung, and is killed."""
    memory_bytes: Annotated[int, Field(ge=1 << 30)] | None = None
    """Most memory of a child process, which trains, predicts, validates, inspects or imports; unset: half of the
    machine's."""
    max_archive_bytes: PositiveInt = 1 << 40
    """Largest upload, and largest total of an archive's unpacked files."""
    max_archive_files: PositiveInt = 5_000_000
    """Most files in one archive."""
    max_backbone_bytes: PositiveInt = 8 << 30
    """Largest upload of a backbone, its samples included."""
    import_cpu_seconds: PositiveInt = 3600
    """Most processor time of the child process that imports a backbone, summed over its threads."""
    predictor_host: str = "127.0.0.1"
    """Address on which a predictor listens for the API: loopback, or one of a private network."""
    predictor_bytes: Annotated[int, Field(ge=1 << 20)] = 4 << 30
    """Memory of a predictor's networks and heads; the trunk that was used longest ago goes first."""
    max_predict_images: PositiveInt = 256
    """Most images in one request for predictions."""
    max_predict_bytes: PositiveInt = 256 << 20
    """Largest request for predictions."""
    keep_newest: PositiveInt | None = None
    """Number of each dataset's newest checkpoints that the sweep keeps; unset, with the next two: it deletes none."""
    keep_best: PositiveInt | None = None
    """Number of each dataset's most accurate checkpoints that the sweep keeps."""
    keep_days: PositiveFloat | None = None
    """Age in days up to which the sweep keeps all checkpoints."""
    push_hosts: str = ""
    """Hosts of private networks that checkpoints may be pushed to, separated by commas."""
    tensorboard: Path | None = None
    """Folder in which workers write each job's TensorBoard event files; unset: none are written."""
    mlflow_url: str = ""
    """Tracking URI of MLflow, such as http://mlflow:5000, to which workers log each job as a run; empty: to none."""
    wandb: str = ""
    """Project of Weights & Biases in which workers log each job as a run (with WANDB_API_KEY); empty: in none."""
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""

    @field_validator("host")
    @classmethod
    def _strip_brackets(cls, host: str) -> str:
        return host.removeprefix("[").removesuffix("]")

    @field_validator("database_url")
    @classmethod
    def _normalize_database_url(cls, given: str) -> str:
        """Take PostgreSQL under every name that other tools give it, for psycopg."""
        if not given:
            return given
        try:
            url = make_url(given)
        except (ArgumentError, ValueError):
            raise ValueError(f"no database URL, such as {POSTGRESQL}; {ESCAPES}") from None
        if "@" in (url.host or ""):
            raise ValueError(f"the host has an @; {ESCAPES}")
        kind = url.get_backend_name()
        if kind in ("postgres", "postgresql"):
            return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        if kind != "sqlite":
            raise ValueError(f"Graft has no use for {kind}; it takes {POSTGRESQL} or sqlite:////FOLDER/graft.sqlite")
        if url.database in (None, "", ":memory:"):
            raise ValueError("this SQLite has no file, which processes could share; write sqlite:////FOLDER/FILE")
        return url.set(drivername="sqlite").render_as_string(hide_password=False)

    @field_validator("broker_url")
    @classmethod
    def _check_broker_url(cls, url: str) -> str:
        if url and urlsplit(url).scheme not in BROKERS:
            raise ValueError("must be redis://HOST:6379/0, or rediss:// for TLS")
        return url

    @field_validator("storage_url")
    @classmethod
    def _check_storage_url(cls, url: str) -> str:
        if url.startswith("file:") and not url.startswith("file:///"):
            raise ValueError("the URL of a folder has three slashes and its whole path, as in file:///srv/graft")
        return url

    @cached_property
    def database(self) -> str:
        """SQLAlchemy URL of the database: GRAFT_DATABASE_URL, or SQLite in GRAFT_DATA."""
        file = URL.create("sqlite", database=str(self.data.absolute() / "graft.sqlite"))
        return self.database_url or file.render_as_string()

    @cached_property
    def storage(self) -> str:
        """URL or path of the storage: GRAFT_STORAGE_URL, or a folder in GRAFT_DATA."""
        if self.storage_url:
            return self.storage_url
        folder = self.data.absolute() / "storage"
        # Earlier versions escaped the path, and kept the files of "my data" in the folder "my%20data" beside it.
        escaped = Path(folder.as_uri().removeprefix("file://"))
        return str(escaped if escaped.is_dir() and not folder.is_dir() else folder)

    @property
    def cache(self) -> Path:
        """Folder of the feature cache: GRAFT_CACHE_DIR, or one in GRAFT_DATA."""
        return (self.cache_dir or self.data / "cache").absolute()

    @cached_property
    def allowed_push_hosts(self) -> set[str]:
        """Hosts of GRAFT_PUSH_HOSTS."""
        return {host.strip().lower() for host in self.push_hosts.split(",") if host.strip()}

    @property
    def is_local(self) -> bool:
        """True if the API listens on this machine alone."""
        return is_loopback(self.host)

    @property
    def asks_for_keys(self) -> bool:
        """True if requests need an API key."""
        return self.auth == "on" or (self.auth == "auto" and not self.is_local)

    @property
    def address(self) -> str:
        """URL of the API, as seen from this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @cached_property
    def scratch(self) -> Path:
        """Folder of this machine's temporary files."""
        return (self.data / "scratch").absolute()


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address is this machine's own, which no other machine reaches."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def from_environment() -> Settings:
    """Read the settings of this process; an invalid one ends it, in one line that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit("\n".join(_describe(bad["loc"], bad["msg"], bad["input"]) for bad in error.errors())) from None


def find_misspelled() -> dict[str, str]:
    """Find variables of the environment that are nearly a setting's, each with the setting: they have no effect."""
    known = [f"{PREFIX}{name}".upper() for name in Settings.model_fields]
    given = [name for name in os.environ if name.startswith(PREFIX) and name not in known]
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=SIMILAR) for name in given}
    return {name: found[0] for name, found in near.items() if found}


def _describe(loc: tuple[int | str, ...], message: str, value: Any) -> str:
    name = f"{PREFIX}{loc[0]}".upper()
    # URLs hold passwords.
    shown = name if name.endswith("_URL") else f"{name}={value}"
    return f"{shown}: {message.removeprefix('Value error, ')}"
