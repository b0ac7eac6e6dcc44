"""Read a checkpoint that Graft has written, of this service or another: its metadata say all."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from models.backbones import local
from models.backbones.checkpoint_folder import write_configuration
from models.backbones.config import BackboneConfig
from models.backbones.weights_file import WEIGHTS
from models.conversion.converted import PreprocessingFacts
from models.importers.reader import ReadNetwork

if TYPE_CHECKING:
    from models.importers.request import ImportRequest

ABOUT_IMAGES = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
ABOUT_CLASSES = ("num_classes", "label_names", "license", "architecture")


def read(request: ImportRequest) -> ReadNetwork:
    """Read the network of a checkpoint, with its preprocessing and its classes; raises BackboneError."""
    with TemporaryDirectory(dir=request.folder) as scratch:
        folder = Path(scratch)
        (folder / WEIGHTS).symlink_to(request.file.absolute())
        metadata = write_configuration(request.name or "the checkpoint", folder)
        config = BackboneConfig.from_folder(request.name or "the checkpoint", folder)
        backbone = local.load_folder(config, folder, None)
    cfg = backbone.pretrained_cfg
    preprocessing = backbone.preprocessing
    others = {key: value for key, value in cfg.items() if key not in (*ABOUT_IMAGES, *ABOUT_CLASSES)}
    return ReadNetwork(
        network=backbone.network,
        architecture=backbone.architecture,
        route="a checkpoint of Graft, built as its metadata say",
        input_size=preprocessing.input_size,
        facts=PreprocessingFacts(
            input_size=preprocessing.input_size,
            mean=_of_three(preprocessing.mean),
            std=_of_three(preprocessing.std),
            interpolation=preprocessing.interpolation,
            crop_pct=preprocessing.crop_pct,
            channel_order="rgb",
            crop_mode=preprocessing.crop_mode,
            evidence=("the metadata of the checkpoint",),
        ),
        model_args=backbone.model_args,
        pretrained_cfg=others,
        labels=list(cfg["label_names"]) if cfg.get("label_names") else None,
        licence=backbone.licence,
        notes=[f"It was fine-tuned from {metadata.get('backbone', 'a backbone')} by Graft."],
        matched=len(backbone.network.state_dict()),
    )


def _of_three(numbers: tuple[float, ...]) -> tuple[float, float, float]:
    """Repeat a number that is given once for all channels."""
    first, second, third = numbers if len(numbers) == 3 else numbers * 3
    return first, second, third
