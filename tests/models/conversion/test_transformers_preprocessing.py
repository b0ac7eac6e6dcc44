"""Preprocessing of transformers: Graft prepares real images as the image processor of transformers itself does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import AutoImageProcessor

from models.conversion.errors import FileBroken
from models.conversion.transformers_files import TransformersFolder
from models.conversion.transformers_preprocessing import compare_shifted, measure
from models.images.preprocessing import Preprocessing
from models.images.views import Views

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.converted import PreprocessingFacts

SQUARE = {"height": 64, "width": 64}
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": SQUARE},
    "vit as it was": {"feature_extractor_type": "ViTFeatureExtractor", "size": 64, "do_resize": True, "resample": 2},
    "deit": {"image_processor_type": "DeiTImageProcessor", "size": {"height": 73, "width": 73}, "crop_size": SQUARE},
    "beit": {
        "image_processor_type": "BeitImageProcessor",
        "size": {"height": 80, "width": 80},
        "crop_size": SQUARE,
        "do_center_crop": True,
    },
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": SQUARE},
    "clip as it was": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 64, "resample": 3},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": SQUARE, "resample": 3},
    "dinov2": {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
    },
    "dinov3": {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": SQUARE},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875},
    "convnext, large": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "convnext as it was": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.95},
    "levit": {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}},
    "mobilenet_v2": {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
    },
    "mobilevit": {
        "image_processor_type": "MobileViTImageProcessor",
        "size": {"shortest_edge": 288},
        "crop_size": {"height": 256, "width": 256},
        "do_flip_channel_order": True,
    },
    "efficientnet": {
        "image_processor_type": "EfficientNetImageProcessor",
        "size": SQUARE,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.47853944, 0.4732864, 0.47434163],
        "include_top": False,
    },
    "efficientnet, twice": {"image_processor_type": "EfficientNetImageProcessor", "size": SQUARE},
    "offset": {
        "image_processor_type": "EfficientNetImageProcessor",
        "size": SQUARE,
        "rescale_factor": 1 / 127.5,
        "rescale_offset": True,
        "do_normalize": False,
        "include_top": False,
    },
    "poolformer": {
        "image_processor_type": "PoolFormerImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_pct": 0.95,
    },
    "segformer": {"image_processor_type": "SegformerImageProcessor", "size": SQUARE},
    "pvt": {"image_processor_type": "PvtImageProcessor", "size": SQUARE},
    "not normalized": {"image_processor_type": "ViTImageProcessor", "size": SQUARE, "do_normalize": False},
    "from 0 to 255": {
        "image_processor_type": "ViTImageProcessor",
        "size": SQUARE,
        "do_normalize": False,
        "do_rescale": False,
    },
    "swin": {
        "image_processor_type": "ViTImageProcessor",
        "size": SQUARE,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
    },
}
"""Settings as repositories of the Hub have them, some as they were years ago."""


def open_folder(folder: Path, settings: dict[str, Any] | None, **nested: Any) -> TransformersFolder:
    """Open a folder with these settings; the weights are not read."""
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    for name, content in nested.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    return TransformersFolder(folder, {}, set(), settings is not None or bool(nested), None)


def render(facts: PreprocessingFacts, image: Image.Image) -> np.ndarray:
    """Prepare an image as Graft does; returns (3, H, W), in the order of the network's channels."""
    cfg = {
        name: getattr(facts, name) for name in ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    }
    preprocessing = Preprocessing.from_config(cfg)
    pixels = Views(preprocessing, []).render(image, b"", 0) / 255
    mean, std = np.reshape(preprocessing.mean, (3, 1, 1)), np.reshape(preprocessing.std, (3, 1, 1))
    normalized: np.ndarray = (pixels - mean) / std
    return normalized[::-1] if facts.channel_order == "bgr" else normalized


@pytest.mark.parametrize("name", ["vit", "convnext", "mobilevit"])
def test_a_processor_by_its_old_name_is_the_same(name: str, tmp_path: Path) -> None:
    """transformers 4.26 wrote image_processor_type: ViTFeatureExtractor, which transformers 5 does not know."""
    settings = PROCESSORS[name]
    measured = measure(open_folder(tmp_path, settings), None)
    old = settings["image_processor_type"].replace("ImageProcessor", "FeatureExtractor")
    assert measured.facts.crop_mode is not None
    assert measure(open_folder(tmp_path, {**settings, "image_processor_type": old}), None) == measured


def test_an_unknown_processor_is_refused_without_the_folders_path(tmp_path: Path) -> None:
    with pytest.raises(FileBroken, match=r"Unrecognized image processor in the folder.*save_pretrained"):
        measure(open_folder(tmp_path, {"image_processor_type": "MyFeatureExtractor"}, config={}), None)


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Real images: one is wide, one high."""
    wide, other = (Image.fromarray(image) for image in load_sample_images().images)
    return [wide, other.transpose(Image.Transpose.ROTATE_90)]


@pytest.mark.parametrize("name", PROCESSORS)
def test_real_images_are_prepared_as_by_transformers(tmp_path: Path, photographs: list[Image.Image], name: str) -> None:
    facts = measure(open_folder(tmp_path, PROCESSORS[name]), None).facts
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert facts.crop_mode is not None
    for image in photographs:
        expected = processor(image, return_tensors="np")["pixel_values"][0]
        scale = expected.max() - expected.min()
        difference = compare_shifted(render(facts, image), expected) / scale
        assert difference.mean() < 0.004
        assert difference.max() < 0.12
    assert facts.channel_order == ("bgr" if name == "mobilevit" else "rgb")


def test_facts_are_those_of_the_settings(tmp_path: Path) -> None:
    facts = measure(open_folder(tmp_path, PROCESSORS["dinov2"]), (518, 518)).facts
    assert facts.input_size == (3, 224, 224)
    assert facts.crop_mode == "center"
    assert facts.crop_pct == 0.875
    assert facts.interpolation == "bicubic"
    facts = measure(open_folder(tmp_path, PROCESSORS["from 0 to 255"]), None).facts
    assert facts.mean == (0, 0, 0)
    assert facts.std == pytest.approx((1 / 255,) * 3)


def test_settings_may_lie_in_a_processor_config(tmp_path: Path) -> None:
    nested = {"image_processor": PROCESSORS["siglip"], "processor_class": "SiglipProcessor"}
    facts = measure(open_folder(tmp_path, None, processor_config=nested), None).facts
    assert (facts.input_size, facts.mean, facts.crop_mode) == ((3, 64, 64), (0.5, 0.5, 0.5), "squash")


def test_what_graft_cannot_do_is_not_guessed(tmp_path: Path) -> None:
    padded = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 16, "width": 16},
        "do_center_crop": True,
        "crop_size": SQUARE,
    }
    measured = measure(open_folder(tmp_path, padded), None)
    assert measured.facts.crop_mode is None
    assert "state the preprocessing yourself" in measured.notes[0]


def test_a_processor_that_cannot_be_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileBroken, match=r"preprocessor_config\.json"):
        measure(open_folder(tmp_path, {"image_processor_type": "NoSuchProcessor"}), (64, 64))


def test_a_processor_that_cannot_be_run_says_nothing(tmp_path: Path) -> None:
    settings = {"image_processor_type": "ConvNextImageProcessor", "size": SQUARE}
    measured = measure(open_folder(tmp_path, settings), (64, 64))
    assert (measured.facts.mean, measured.facts.input_size) == (None, (3, 64, 64))
    assert "not known" in measured.notes[0]
