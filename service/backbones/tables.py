"""Tables of backbones, of their events, and of the workers that can load them; `service.tables` has all tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, String, exists, func, or_
from sqlalchemy.orm import Mapped, mapped_column

from service.statuses import BackboneStatus
from service.table_base import Leased, LogEntry, Table, status_type

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


HUB = "hf/"
"""How the names of the Hub's backbones begin: none is listed."""
UPLOADED, CHECKPOINT = "bb_", "ckpt_"
"""How the ids of uploaded and pretrained backbones begin, and those of checkpoints, which are backbones too."""
LOADED_ANYWHERE = (HUB, UPLOADED, CHECKPOINT)
"""How the names begin of backbones that any worker can load: the Hub's, and those that the service itself has."""
UPLOAD_SOURCE, PRETRAINING_SOURCE, CHECKPOINT_SOURCE = "upload", "pretraining", "checkpoint"
OWN_SOURCES = (UPLOAD_SOURCE, PRETRAINING_SOURCE)
"""Sources of backbones whose files the service itself has; their ids begin as those of uploaded ones."""
UNLISTED_SOURCES = ("hf", *OWN_SOURCES, CHECKPOINT_SOURCE)
"""Sources whose backbones no worker lists."""


class Worker(Table):
    """A worker process that has listed its backbones."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    """The name by which it claims."""
    alive_until: Mapped[float]
    """It counts as dead from then on, unless it reports again."""


class Listing(Table):
    """A backbone that a worker can load."""

    __tablename__ = "listings"

    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True)
    backbone: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)

    @classmethod
    def has(cls, worker: str, backbone: ColumnElement[str]) -> ColumnElement[bool]:
        """Build the SQL of whether a worker can load a backbone."""
        anywhere = (backbone.startswith(start, autoescape=True) for start in LOADED_ANYWHERE)
        return or_(*anywhere, exists().where(cls.worker_id == worker, cls.backbone == backbone))


class Backbone(Leased, Table):
    """A backbone that can be named in a job, by its id.

    Listed ones: listed → inspecting → inspected | failed. Workers list those of the sources timm and local when they
    start; one of hf, or a checkpoint, is listed on the first request for it. Uploaded ones: importing → ready | failed.
    Those that are pretrained here: pretraining → ready | failed.
    """

    __tablename__ = "backbones"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    """bb_… of an uploaded or pretrained one; else its name, such as timm/resnet18.a1_in1k."""
    status: Mapped[BackboneStatus] = mapped_column(status_type(BackboneStatus))
    source: Mapped[str] = mapped_column(String(16), index=True)
    architecture: Mapped[str | None]
    parameters: Mapped[int | None]
    multiply_adds: Mapped[int | None]
    """Of one image at `input_size`."""
    input_size: Mapped[list[Any] | None]
    """(channels, height, width) of the backbone's own preprocessing."""
    licence: Mapped[str | None]
    accuracy: Mapped[float | None]
    """Share of ImageNet's validation images that it classifies as labelled, as its makers publish it."""
    inspection: Mapped[dict[str, Any] | None]
    """Stages and cuts with their costs, measured by a worker on demand, or when it was imported."""

    display_name: Mapped[str | None]
    """An uploaded or pretrained one's name for people."""
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request made it; null where none was asked for."""
    upload: Mapped[str | None]
    """Storage key of the uploaded file; null once nothing can need it any more."""
    samples: Mapped[str | None]
    """Storage key of uploaded images with their expected classes; null as `upload` is."""
    bytes: Mapped[int | None]
    """Size of the uploaded file."""
    digest: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the uploaded file, in hex."""
    format: Mapped[str | None] = mapped_column(String(32))
    """Of the uploaded file: as the request says, until a worker has read it."""
    options: Mapped[dict[str, Any] | None]
    """Facts that requests gave about the file: architecture, preprocessing, labels."""
    files: Mapped[dict[str, Any] | None]
    """The network of an uploaded or pretrained one: {name: {"key", "bytes", "digest"}}, with keys of the storage."""
    import_report: Mapped[dict[str, Any] | None]
    pretrained_from: Mapped[str | None] = mapped_column(String(255))
    """Backbone that a pretrained one started from."""
    dataset_id: Mapped[str | None] = mapped_column(String(40))
    """Dataset that it is pretrained on, which may be deleted once it is ready."""
    pretraining: Mapped[dict[str, Any] | None]
    """Method and seed as requested; once it is ready, with the figures of its pretraining."""
    progress: Mapped[dict[str, Any] | None]
    """Of its pretraining."""
    snapshot: Mapped[dict[str, Any] | None]
    """Newest snapshot of its pretraining: {"key", "bytes", "digest", "epoch"}, with a key of the storage."""
    event_seq: Mapped[int] = mapped_column(default=0, server_default="0")
    """Number of the newest event; incremented under the row's lock, so events have no gaps."""

    @classmethod
    def claimable_by(cls, worker: str) -> ColumnElement[bool]:
        """Build the SQL of whether a worker can load the backbone, or the one that it is pretrained from."""
        return Listing.has(worker, func.coalesce(cls.pretrained_from, cls.id))

    @property
    def name(self) -> str:
        """The name for people, or the id."""
        return self.display_name or self.id


class BackboneEvent(LogEntry, Table):
    """An entry of the log of an import or a pretraining, numbered without gaps."""

    __tablename__ = "backbone_events"
    owner = "backbone_id"

    backbone_id: Mapped[str] = mapped_column(ForeignKey("backbones.id", ondelete="CASCADE"), primary_key=True)
