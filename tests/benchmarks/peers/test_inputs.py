"""Inputs of peers: the images that Graft accepts, on the sides of its split, and the same weights."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from benchmarks.peers.inputs import PARTS, Inputs
from models.catalog.recipe import Recipe
from models.datasets.splits import split
from tests.support.images import coloured_classes, write_zip
from tests.support.small_pack import packed

BACKBONE = Path(__file__).parents[3] / "demo" / "backbones" / "rendered_shapes"


def test_the_images_lie_as_graft_splits_them(tmp_path: Path) -> None:
    files = coloured_classes(3, 20)
    archive = write_zip(
        tmp_path / "small.zip", {**files, "red/broken.png": b"no image", "red/copy.png": files["red/001.png"]}
    )
    inputs = Inputs.prepare(archive, BACKBONE, tmp_path / "inputs")

    pack, recipe = packed(archive), Recipe()
    parts = split(pack.digests.tolist(), pack.labels, pack.splits, recipe.validation_fraction, recipe.test_fraction)
    for part, called in PARTS.items():
        expected = sorted((pack.names[image].split("/")[0], pack.read_file(image)) for image in getattr(parts, part))
        found = sorted((path.parent.name, path.read_bytes()) for path in (inputs.images / called).glob("*/*"))
        assert found == expected
    assert inputs.counts == "42 train, 9 validation, 9 test"


def test_a_folder_is_as_good_as_an_archive(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "small.zip", coloured_classes(2, 6))
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "small")
    both = [Inputs.prepare(tmp_path / name, BACKBONE, tmp_path / f"of_{name}") for name in ("small", "small.zip")]
    from_folder, from_archive = (sorted(path.read_bytes() for path in g.images.rglob("*.png")) for g in both)
    assert from_folder == from_archive


def test_images_of_several_classes_are_refused(tmp_path: Path) -> None:
    files = coloured_classes(2, 6)
    rows = ["file,label", *(f"{path},red|green" for path in files)]
    archive = write_zip(tmp_path / "small.zip", {**files, "labels.csv": "\n".join(rows).encode()})
    with pytest.raises(SystemExit, match="one class each"):
        Inputs.prepare(archive, BACKBONE, tmp_path / "inputs")


def test_the_hubs_client_finds_the_backbone(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "small.zip", coloured_classes(2, 6))
    inputs = Inputs.prepare(archive, BACKBONE, tmp_path / "inputs")
    for name in ("config.json", "model.safetensors"):
        found = try_to_load_from_cache("local/rendered_shapes", name, cache_dir=inputs.hub_cache)
        assert isinstance(found, str)
        assert Path(found).read_bytes() == (BACKBONE / name).read_bytes()
