"""Engines and their selection: features agree with those of eager PyTorch in float32."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import timm
import torch

from models.features.engines import openvino
from models.features.engines.selection import (
    REFERENCE,
    EngineChoice,
    EngineConfig,
    EngineSelector,
    list_available,
    measure_agreement,
)
from models.features.trunk import Trunk
from models.images.preprocessing import Preprocessing
from models.networks.feature_network import cut_before_classifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU = torch.device("cpu")
SIZE = (3, 32, 32)
PREPROCESSING = Preprocessing(SIZE, "bilinear", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), 1.0, "center")
CONFIGS = [config for config in list_available(CPU) if config.precision != "exact"]
needs_openvino = pytest.mark.skipif(not openvino.is_installed(), reason="openvino is not installed")


def build_trunk(name: str) -> Trunk:
    """Build the trunk of a small network with random weights."""
    torch.manual_seed(0)
    arguments = {"img_size": 32} if "vit" in name else {}
    network = timm.create_model(name, **arguments).eval()
    return Trunk(cut_before_classifier(network, SIZE, {}).trunk, PREPROCESSING, CPU)


def make_images(count: int, seed: int = 0) -> np.ndarray:
    """Make smooth random images, all different, (count, 3, 32, 32) uint8."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=SIZE[1:], mode="bicubic").clamp(0, 1)
    return np.asarray((smooth * 255).byte().numpy())


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "test_vit.r160_in1k", "mobilenetv3_small_050"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_an_engine_computes_the_features_of_the_network(config: EngineConfig, name: str, tmp_path: Path) -> None:
    trunk = build_trunk(name)
    engine = EngineSelector(trunk, SIZE, tmp_path, "digest").build(config)
    images = make_images(engine.batch_size)
    normalized = torch.from_numpy(images).float().div(255).sub(torch.tensor(PREPROCESSING.mean).view(3, 1, 1))
    with torch.inference_mode():
        expected = trunk.network(normalized.div(torch.tensor(PREPROCESSING.std).view(3, 1, 1))).numpy()
    features = engine(images)
    assert features.dtype == np.float32
    rounding = 0.05 if config.precision == "bfloat16" else 1e-5
    assert np.abs(features - expected).max() <= rounding * np.abs(expected).max()


@needs_openvino
def test_an_image_has_the_same_features_alone_and_beside_any_number_of_others(tmp_path: Path) -> None:
    trunk = build_trunk("mobilenetv3_small_050")
    build = partial(openvino.OpenVINO, trunk.network, trunk.normalize, SIZE, "float32", tmp_path, "digest")
    single, many = build(is_single=True), build(images_per_request=1)
    images = make_images(many.batch_size)
    expected = np.concatenate([single(image[None]) for image in images])
    for count in range(1, many.batch_size + 1):
        np.testing.assert_allclose(many(images[:count]), expected[:count], rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_features_do_not_depend_on_earlier_batches(config: EngineConfig, tmp_path: Path) -> None:
    engine = EngineSelector(build_trunk("test_resnet.r160_in1k"), SIZE, tmp_path, "digest").build(config)
    first, second = make_images(engine.batch_size, 1), make_images(engine.batch_size, 2)
    alone = engine(first.copy())
    engine(second)
    reused = first.copy()
    again = engine(reused)
    reused[:] = 0
    np.testing.assert_array_equal(alone, again)
    np.testing.assert_array_equal(engine(first), again)


def test_an_engine_is_built_once(tmp_path: Path) -> None:
    selector = EngineSelector(build_trunk("test_resnet.r160_in1k"), SIZE, tmp_path, "digest")
    for config in CONFIGS:
        assert selector.build(config) is selector.build(config)


@needs_openvino
def test_a_compiled_model_is_cached_on_disk(tmp_path: Path) -> None:
    config = EngineConfig("openvino", "float32")
    trunk = build_trunk("test_resnet.r160_in1k")
    first = EngineSelector(trunk, SIZE, tmp_path, "digest").build(config)
    assert first.setup_seconds == openvino.COMPILE_SECONDS
    features = first(make_images(first.batch_size))
    (file,) = tmp_path.iterdir()
    second = EngineSelector(trunk, SIZE, tmp_path, "digest").build(config)
    assert second.setup_seconds == openvino.READ_SECONDS
    np.testing.assert_array_equal(second(make_images(second.batch_size)), features)
    assert list(tmp_path.iterdir()) == [file]


@needs_openvino
@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_broken_compiled_model_is_compiled_again(content: bytes, tmp_path: Path) -> None:
    config, trunk = EngineConfig("openvino", "float32"), build_trunk("test_resnet.r160_in1k")
    first = EngineSelector(trunk, SIZE, tmp_path, "digest").build(config)
    features = first(make_images(first.batch_size))
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    np.testing.assert_array_equal(
        EngineSelector(trunk, SIZE, tmp_path, "digest").build(config)(make_images(first.batch_size)), features
    )
    assert len(file.read_bytes()) > 1000


@needs_openvino
def test_each_trunk_and_precision_is_compiled_separately(tmp_path: Path) -> None:
    trunk = build_trunk("test_resnet.r160_in1k")
    for digest, precision in (("one", "float32"), ("other", "float32"), ("one", "bfloat16")):
        engine = EngineSelector(trunk, SIZE, tmp_path, digest).build(EngineConfig("openvino", precision))
        engine(make_images(engine.batch_size))
    assert len(list(tmp_path.iterdir())) == 3


def choose(
    trunk: Trunk, folder: Path, count_missing: Callable[[EngineConfig], int], configs: list[EngineConfig] | None = None
) -> EngineChoice:
    """Choose an engine for images whose features are not cached."""
    return EngineSelector(trunk, SIZE, folder, "digest").choose(
        configs or [*CONFIGS[:1], REFERENCE], count_missing, make_images
    )


@needs_openvino
def test_few_images_are_computed_by_the_reference(tmp_path: Path) -> None:
    choice = choose(build_trunk("test_resnet.r160_in1k"), tmp_path, lambda _: 100)
    assert choice.config == REFERENCE
    assert list(tmp_path.iterdir()) == [], "nothing was compiled"


@needs_openvino
def test_many_images_are_computed_by_the_fastest_engine_that_agrees(tmp_path: Path) -> None:
    choice = choose(
        build_trunk("test_resnet.r160_in1k"),
        tmp_path,
        lambda _: 10**7,
        [EngineConfig("openvino", "float32"), REFERENCE],
    )
    assert choice.config == EngineConfig("openvino", "float32")
    assert choice.measurements["openvino float32 cosine"] > 0.999
    assert choice.measurements["openvino float32 agreement"] == 1.0


@needs_openvino
def test_an_engine_whose_features_do_not_agree_is_not_chosen(tmp_path: Path) -> None:
    """The cache holds the compiled model of another network under this one's name."""
    config = EngineConfig("openvino", "float32")
    torch.manual_seed(1)
    other = timm.create_model("test_resnet.r160_in1k").eval()
    selector = EngineSelector(
        Trunk(cut_before_classifier(other, SIZE, {}).trunk, PREPROCESSING, CPU), SIZE, tmp_path, "digest"
    )
    engine = selector.build(config)
    engine(make_images(engine.batch_size))
    choice = choose(build_trunk("test_resnet.r160_in1k"), tmp_path, lambda _: 10**7, [config, REFERENCE])
    assert choice.config == REFERENCE
    assert choice.measurements["openvino float32 cosine"] < 0.9


def test_an_engine_whose_features_are_cached_is_chosen_without_a_trial(tmp_path: Path) -> None:
    def render_sample(count: int) -> np.ndarray:
        raise AssertionError("no engine is tried")

    selector = EngineSelector(build_trunk("test_resnet.r160_in1k"), SIZE, tmp_path, "digest")
    configs = [EngineConfig("openvino", "bfloat16"), EngineConfig("openvino", "float32"), REFERENCE]
    for known in configs:
        assert selector.choose(configs, lambda config: 0 if config == known else 500, render_sample).config == known  # noqa: B023
    assert selector.choose(configs, lambda _: 0, render_sample).config == configs[0]
    assert selector.choose([REFERENCE], lambda _: 500, render_sample).config == REFERENCE


@pytest.mark.parametrize(
    ("engine", "precision", "configs"),
    [
        ("auto", "exact", [EngineConfig("eager", "exact")]),
        ("eager", "float32", [REFERENCE]),
        ("auto", "auto", CONFIGS),
        ("eager", "auto", [config for config in CONFIGS if config.engine == "eager"]),
        ("openvino", "exact", []),
    ],
)
def test_configurations_are_those_that_a_recipe_allows(
    engine: str, precision: str, configs: list[EngineConfig], tmp_path: Path
) -> None:
    assert (
        EngineSelector(build_trunk("test_resnet.r160_in1k"), SIZE, tmp_path, "digest").list_configs(engine, precision)
        == configs
    )


def test_agreement_equals_a_computation_by_hand() -> None:
    reference = np.array([[0.0, 0.0], [1.0, 0.1], [5.0, 4.0], [6.0, 4.2]], np.float32)
    assert measure_agreement(reference, reference) == (pytest.approx(1.0), 1.0)
    assert measure_agreement(reference, 3 * reference + 7)[1] < 1.0
    swapped = reference[[0, 2, 1, 3]]
    cosine, share = measure_agreement(reference, swapped)
    standard = (reference - reference.mean(0)) / reference.std(0)
    one, other = standard[1], standard[2]
    assert cosine == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-5)
    assert share == 0.5


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_large_images_go_through_an_engine_few_at_a_time(config: EngineConfig, tmp_path: Path) -> None:
    size = (3, 1024, 1024)
    preprocessing = Preprocessing(size, "bilinear", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), 1.0, "center")
    pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    trunk = Trunk(pool, preprocessing, CPU)
    engine = EngineSelector(trunk, size, tmp_path, "digest").build(config)
    assert engine.batch_size < 16
    images = np.random.default_rng(0).integers(0, 255, (engine.batch_size, *size), np.uint8)
    with torch.inference_mode():
        expected = trunk.network(trunk.to_input(images)).numpy()
    np.testing.assert_allclose(engine(images), expected, atol=0.02)
