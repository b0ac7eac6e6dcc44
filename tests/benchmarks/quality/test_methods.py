"""Methods on a small set: each learns it, and Graft's row is that of its own predictions."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers.peer import PeerFailed
from benchmarks.quality import handwritten
from benchmarks.quality.cell import BackboneFiles, Cell, find_backbone
from benchmarks.quality.handwritten import LEAST_EPOCHS, plan
from benchmarks.quality.methods import IN_PROCESS, METHODS, run_method
from benchmarks.quality.polygons import SHAPES
from benchmarks.quality.recipes import RECIPES
from benchmarks.quality.splits import PackedSet
from benchmarks.quality.tasks import draw_clean
from models.catalog.recipe import Recipe
from tests.support.images import write_zip

pytestmark = pytest.mark.extended

SMALL = Path(__file__).parents[3] / "demo" / "backbones" / "rendered_shapes"


def encode(pixels: np.ndarray) -> bytes:
    """Encode an image as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    """Discs, stars and bars, and the backbone of the demo."""
    folder, random = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    shapes = {name: list(SHAPES).index(name) for name in ("disc", "star", "bar")}
    files = {
        f"{name}/{number:03}.png": encode(draw_clean(label, random))
        for name, label in shapes.items()
        for number in range(20)
    }
    archive = write_zip(folder / "small.zip", files)
    images = PackedSet.pack(archive, folder / "set").split(0)
    return Cell(images, BackboneFiles("local/rendered_shapes", SMALL), 0, 64, None, can_flip=True)


@pytest.mark.parametrize("method", ["empty", "scikit_learn", "timm_by_hand"])
def test_a_method_tells_shapes_apart(cell: Cell, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handwritten, "EPOCHS", 6)
    row = run_method(method, cell)
    assert row.accuracy >= 0.8
    assert len(row.confidences) == len(row.right) == len(cell.images.split.test) == 15
    assert row.accuracy == row.right.count("1") / 15
    assert all(1 / 3 <= confidence <= 1 for confidence in row.confidences)
    assert row.note


def test_each_recipe_is_valid_and_each_method_has_its_name() -> None:
    assert all(Recipe.model_validate(recipe) for recipe in RECIPES.values())
    assert set(RECIPES) < set(IN_PROCESS) < set(METHODS)


def test_peers_of_other_environments_are_refused_where_they_cannot_be_compared(cell: Cell) -> None:
    with pytest.raises(PeerFailed, match="own time"):
        run_method("fastai", replace(cell, budget=60.0))
    with pytest.raises(PeerFailed, match="timm alone"):
        run_method("autogluon", replace(cell, backbone=BackboneFiles("bb_small", SMALL)))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1000.0, (3, 20)), (45.0, (3, 15)), (29.0, (2, 14)), (19.0, (1, 19)), (4.5, (1, 4)), (0.1, (1, 1))],
)
def test_a_budget_is_spent_on_epochs_first_and_then_on_rates(seconds: float, expected: tuple[int, int]) -> None:
    assert LEAST_EPOCHS == 10
    assert plan(seconds, 1.0) == expected


def test_backbones_are_found_by_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAFT_MATERIAL", raising=False)
    assert find_backbone("rendered_shapes", tmp_path, 64) == BackboneFiles("local/rendered_shapes", SMALL)
    with pytest.raises(SystemExit, match="nowhere is neither in"):
        find_backbone("nowhere", tmp_path, 64)
    with pytest.raises(SystemExit, match="keras_squeezenet"):
        find_backbone("squeezenet", tmp_path, 64)


def test_an_imported_backbone_is_a_cell_like_any(cell: Cell, material: Path, tmp_path: Path) -> None:
    imported = find_backbone("squeezenet", tmp_path, 96)
    assert imported.is_imported
    assert find_backbone("squeezenet", tmp_path, 96) == imported
    rows = [run_method(method, replace(cell, backbone=imported, image_size=96)) for method in ("empty", "scikit_learn")]
    assert min(row.accuracy for row in rows) >= 0.8
