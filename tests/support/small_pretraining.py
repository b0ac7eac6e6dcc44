"""A small pretraining of the small backbone for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from models.messages import ProgressSaved
from models.pipeline.pretrain_backbone import pretrain_backbone
from models.pipeline.spec import BackboneSpec, DatasetSpec, PretrainingSpec
from models.pretraining.messages import BackbonePretrained
from tests.support.small_backbone import write_backbone, write_graph
from tests.support.small_job import CLASSES
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack
    from models.pretraining.messages import PretrainingEvent


class SmallPretraining(NamedTuple):
    """The arguments of `pretrain_backbone`."""

    spec: PretrainingSpec
    pack: Pack

    def change(self, **changes: Any) -> SmallPretraining:
        """Copy it with other values in its spec."""
        return self._replace(spec=self.spec.model_copy(update=changes))

    def run(self) -> list[PretrainingEvent]:
        """Run it to its end."""
        self.spec.folder.mkdir(parents=True, exist_ok=True)
        return list(pretrain_backbone(*self))

    def cut_off(self, after: int) -> SmallPretraining:
        """Run it until it has written `after` snapshots; gives the one that resumes from the last."""
        for event in pretrain_backbone(*self.change(snapshot_seconds=0.0)):
            if isinstance(event, ProgressSaved) and event.snapshot:
                after -= 1
                if not after:
                    return self.change(snapshot=self.spec.folder.with_name(event.snapshot))
        raise AssertionError("it ended before")

    def read_files(self) -> dict[str, bytes]:
        """Read the files of the new backbone."""
        return {file.name: file.read_bytes() for file in self.spec.folder.iterdir()}


def small_pretraining(folder: Path, backbone: str = "local/small", **method: object) -> SmallPretraining:
    """Make a pretraining of the small backbone on 60 coloured images; of "local/graph", that as a graph."""
    if not (folder / "backbones").exists():
        write_backbone(folder / "backbones" / "small")
        write_graph(folder / "backbones" / "graph")
    spec = PretrainingSpec(
        storage=folder.as_uri(),
        dataset=DatasetSpec(pack="small.pack", index="small.index", classes=CLASSES, digest="0" * 64),
        backbone=BackboneSpec(name=backbone),
        local_backbones=folder / "backbones",
        method={"epochs": 2, "batch_size": 8, **method},
        device="cpu",
        folder=folder / "pretrained" / "backbone",
    )
    return SmallPretraining(spec, small_pack(folder, classes=3, each=20))


def get_last(events: list[PretrainingEvent]) -> BackbonePretrained:
    """Get the last message of a pretraining."""
    assert isinstance(events[-1], BackbonePretrained)
    return events[-1]
