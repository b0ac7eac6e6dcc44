"""Every engine: what it says of images agrees with what eager PyTorch says in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import timm
import torch

from models.features.engines import openvino
from models.features.engines.selection import Choice, Engines, Kind, agree, available
from models.features.trunk import Trunk
from models.images.preprocessing import Preprocessing
from models.networks import surgery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU = torch.device("cpu")
SIZE = (3, 32, 32)
PREPROCESSING = Preprocessing(SIZE, "bilinear", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), 1.0, "center")
KINDS = [kind for kind in available(CPU) if kind.precision != "exact"]
PLAIN = Kind("eager", "float32")
needs_openvino = pytest.mark.skipif(not openvino.is_installed(), reason="openvino is not installed")


def trunk_of(name: str) -> Trunk:
    """The trunk of a small network with random weights."""
    torch.manual_seed(0)
    arguments = {"img_size": 32} if "vit" in name else {}
    network = timm.create_model(name, **arguments).eval()
    return Trunk(surgery.cut_before_classifier(network, SIZE, {}).trunk, PREPROCESSING, CPU)


def images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random images, (count, 3, 32, 32) uint8, each another."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=SIZE[1:], mode="bicubic").clamp(0, 1)
    return np.asarray((smooth * 255).byte().numpy())


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "test_vit.r160_in1k", "mobilenetv3_small_050"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_says_what_the_network_says(kind: Kind, name: str, tmp_path: Path) -> None:
    trunk = trunk_of(name)
    engine = Engines(trunk, SIZE, tmp_path, "about").built(kind)
    shown = images(engine.batch)
    normalized = torch.from_numpy(shown).float().div(255).sub(torch.tensor(PREPROCESSING.mean).view(3, 1, 1))
    with torch.inference_mode():
        meant = trunk.network(normalized.div(torch.tensor(PREPROCESSING.std).view(3, 1, 1))).numpy()
    said = engine(shown)
    assert said.dtype == np.float32
    rounding = 0.05 if kind.precision == "bfloat16" else 1e-5
    assert np.abs(said - meant).max() <= rounding * np.abs(meant).max()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_says_the_same_of_a_image_whatever_was_before(kind: Kind, tmp_path: Path) -> None:
    engine = Engines(trunk_of("test_resnet.r160_in1k"), SIZE, tmp_path, "about").built(kind)
    first, second = images(engine.batch, 1), images(engine.batch, 2)
    alone = engine(first.copy())
    engine(second)
    reused = first.copy()
    again = engine(reused)
    reused[:] = 0
    np.testing.assert_array_equal(alone, again)
    np.testing.assert_array_equal(engine(first), again)


def test_an_engine_is_set_up_once(tmp_path: Path) -> None:
    engines = Engines(trunk_of("test_resnet.r160_in1k"), SIZE, tmp_path, "about")
    for kind in KINDS:
        assert engines.built(kind) is engines.built(kind)


@needs_openvino
def test_what_is_compiled_is_kept_and_read_again(tmp_path: Path) -> None:
    kind = Kind("openvino", "float32")
    trunk = trunk_of("test_resnet.r160_in1k")
    first = Engines(trunk, SIZE, tmp_path, "about").built(kind)
    assert first.set_up_seconds == openvino.COMPILE_SECONDS
    said = first(images(first.batch))
    (file,) = tmp_path.iterdir()
    second = Engines(trunk, SIZE, tmp_path, "about").built(kind)
    assert second.set_up_seconds == openvino.READ_SECONDS
    np.testing.assert_array_equal(second(images(second.batch)), said)
    assert list(tmp_path.iterdir()) == [file]


@needs_openvino
@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_broken_compiled_form_is_compiled_again(content: bytes, tmp_path: Path) -> None:
    kind, trunk = Kind("openvino", "float32"), trunk_of("test_resnet.r160_in1k")
    first = Engines(trunk, SIZE, tmp_path, "about").built(kind)
    said = first(images(first.batch))
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    np.testing.assert_array_equal(Engines(trunk, SIZE, tmp_path, "about").built(kind)(images(first.batch)), said)
    assert len(file.read_bytes()) > 1000


@needs_openvino
def test_another_trunk_or_precision_is_compiled_for_itself(tmp_path: Path) -> None:
    trunk = trunk_of("test_resnet.r160_in1k")
    for about, precision in (("one", "float32"), ("other", "float32"), ("one", "bfloat16")):
        engine = Engines(trunk, SIZE, tmp_path, about).built(Kind("openvino", precision))
        engine(images(engine.batch))
    assert len(list(tmp_path.iterdir())) == 3


def chosen(trunk: Trunk, folder: Path, lacking: Callable[[Kind], int], kinds: list[Kind] | None = None) -> Choice:
    """What is chosen for images that lack features."""
    return Engines(trunk, SIZE, folder, "about").chosen(kinds or [*KINDS[:1], PLAIN], lacking, images)


@needs_openvino
def test_few_images_are_computed_plainly(tmp_path: Path) -> None:
    choice = chosen(trunk_of("test_resnet.r160_in1k"), tmp_path, lambda _: 100)
    assert choice.kind == PLAIN
    assert list(tmp_path.iterdir()) == [], "nothing was compiled"


@needs_openvino
def test_many_images_are_computed_by_the_fastest_engine_that_agrees(tmp_path: Path) -> None:
    choice = chosen(trunk_of("test_resnet.r160_in1k"), tmp_path, lambda _: 10**7, [Kind("openvino", "float32"), PLAIN])
    assert choice.kind == Kind("openvino", "float32")
    assert choice.figures["openvino float32 cosine"] > 0.999
    assert choice.figures["openvino float32 agreement"] == 1.0


@needs_openvino
def test_an_engine_whose_features_do_not_agree_is_not_chosen(tmp_path: Path) -> None:
    """The compiled form of another network lies where that of this one should."""
    kind = Kind("openvino", "float32")
    torch.manual_seed(1)
    other = timm.create_model("test_resnet.r160_in1k").eval()
    wrong = Engines(
        Trunk(surgery.cut_before_classifier(other, SIZE, {}).trunk, PREPROCESSING, CPU), SIZE, tmp_path, "about"
    )
    engine = wrong.built(kind)
    engine(images(engine.batch))
    choice = chosen(trunk_of("test_resnet.r160_in1k"), tmp_path, lambda _: 10**7, [kind, PLAIN])
    assert choice.kind == PLAIN
    assert choice.figures["openvino float32 cosine"] < 0.9


def test_an_engine_whose_features_are_known_is_chosen_at_once(tmp_path: Path) -> None:
    def sample(count: int) -> np.ndarray:
        raise AssertionError("nothing is tried")

    engines = Engines(trunk_of("test_resnet.r160_in1k"), SIZE, tmp_path, "about")
    kinds = [Kind("openvino", "bfloat16"), Kind("openvino", "float32"), PLAIN]
    for known in kinds:
        assert engines.chosen(kinds, lambda kind: 0 if kind == known else 500, sample).kind == known  # noqa: B023
    assert engines.chosen(kinds, lambda _: 0, sample).kind == kinds[0]
    assert engines.chosen([PLAIN], lambda _: 500, sample).kind == PLAIN


@pytest.mark.parametrize(
    ("engine", "precision", "kinds"),
    [
        ("auto", "exact", [Kind("eager", "exact")]),
        ("eager", "float32", [PLAIN]),
        ("auto", "auto", KINDS),
        ("eager", "auto", [kind for kind in KINDS if kind.engine == "eager"]),
        ("openvino", "exact", []),
    ],
)
def test_a_recipe_gets_what_it_asks_for(engine: str, precision: str, kinds: list[Kind], tmp_path: Path) -> None:
    assert Engines(trunk_of("test_resnet.r160_in1k"), SIZE, tmp_path, "about").fitting(engine, precision) == kinds


def test_agreement_by_hand() -> None:
    plain = np.array([[0.0, 0.0], [1.0, 0.1], [5.0, 4.0], [6.0, 4.2]], np.float32)
    assert agree(plain, plain) == (pytest.approx(1.0), 1.0)
    assert agree(plain, 3 * plain + 7)[1] < 1.0
    swapped = plain[[0, 2, 1, 3]]
    cosine, share = agree(plain, swapped)
    standard = (plain - plain.mean(0)) / plain.std(0)
    one, other = standard[1], standard[2]
    assert cosine == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-5)
    assert share == 0.5
