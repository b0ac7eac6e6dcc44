"""Folders of transformers: the network and its features are the original's, and nothing of it is drawn by chance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.conversion.errors import ConversionError, FileBroken, UnsupportedModel, WeightsUnsafe
from models.conversion.transformers_reader import read
from models.networks import graph_file
from models.networks.feature_network import cut_before_classifier
from tools import transformers_networks
from tools.transformers_networks import CLASSIFIERS, TOWERS, build

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.converted import ConvertedNetwork

ORDINARY = ("vit", "resnet")
"""Classifiers that the ordinary tests read."""
UNREADABLE = {"dinat"}
"""Classifiers that need code which is not transformers' own."""
SIZE = {"height": 64, "width": 64}


def write(folder: Path, name: str, **config: Any) -> Any:
    """Write a small network with a processor; returns the network."""
    network = build(*(CLASSIFIERS | TOWERS)[name])
    transformers_networks.write(folder, network, **config)
    write_processor(folder)
    return network


def write_processor(folder: Path, **settings: Any) -> None:
    """Write how images are prepared."""
    content = {"image_processor_type": "ViTImageProcessor", "size": SIZE, **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))


def draw(count: int) -> torch.Tensor:
    """Draw images."""
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(count))


def assert_same(converted: ConvertedNetwork) -> None:
    """Compare with the original for one image and for three, after a round trip through the description too."""
    network = converted.network
    built = graph_file.load(json.loads(json.dumps(graph_file.describe(network))), network.state_dict())
    assert converted.original is not None
    with torch.no_grad():
        for count in (1, 3):
            images = draw(count)
            expected = torch.from_numpy(converted.original.run(images.numpy()))
            assert (network(images) - expected).abs().max() <= 1e-5 * expected.abs().max()
            assert (built(images) - network(images)).abs().max() <= 1e-6 * expected.abs().max()
        assert (expected - expected.mean(0)).abs().max() > 1e-3 * expected.abs().max()


def test_a_network_of_any_size_is_read_for_the_usual_one_or_the_given(tmp_path: Path) -> None:
    write(tmp_path, "resnet")
    (tmp_path / "preprocessor_config.json").unlink()
    converted = read(tmp_path)
    assert (converted.input_size, converted.preprocessing.mean) == ((3, 224, 224), None)
    assert any("read for 224x224 pixels. Give input_size" in note for note in converted.notes)
    given = read(tmp_path, 64)
    assert given.input_size == (3, 64, 64)
    assert not any("Give input_size" in note for note in given.notes)
    assert_same(given)


def join(vectors: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Join the vectors of a network with two classifiers."""
    return torch.cat([vector.flatten(1) for vector in (vectors if isinstance(vectors, tuple) else (vectors,))], 1)


def assert_cuts(converted: ConvertedNetwork) -> None:
    """Cut before every tenth value or so, to the bit; every parameter above the lowest cut gets a gradient."""
    tail = cut_before_classifier(converted.network, converted.input_size, {}).tail
    cuts = list(tail.cuts)
    assert len(cuts) >= 4
    with torch.no_grad():
        whole = join(tail.trunk(draw(2)))
        for cut in cuts[:: max(1, len(cuts) // 6)]:
            below, above = tail.build_parts(cut)
            assert torch.equal(join(above(below(draw(2)))), whole), cut
    _, above = tail.build_parts(cuts[0])
    above.requires_grad_(True)
    with torch.no_grad():
        features = tail.build_parts(cuts[0])[0](draw(2))
    join(above(features)).square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in above.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.abs().sum() > 0) for gradient in gradients) > 0.7 * len(gradients)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ORDINARY else pytest.mark.extended)
        for name in CLASSIFIERS
        if name not in UNREADABLE
    ],
)
def test_a_classifier_is_the_original(tmp_path: Path, name: str) -> None:
    network = write(tmp_path, name)
    converted = read(tmp_path)
    assert converted.input_size == (3, 64, 64)
    assert_same(converted)
    assert_cuts(converted)
    with torch.no_grad():
        if "siglip2" not in name:
            output = network(draw(2))
            expected = output.logits if "logits" in output else output.last_hidden_state
            assert (converted.network(draw(2)) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "width", "note"),
    [
        pytest.param("vit_base", 32, "classifier of ViTForImageClassification reads", id="vit_base"),
        *(
            pytest.param(name, width, note, id=name, marks=pytest.mark.extended)
            for name, width, note in [
                ("clip_both", 32, "Left out, as it does not belong to the vision tower: logit_scale"),
                ("clip_vision", 32, "pooled output of the vision tower"),
                ("siglip_both", 32, "text_model"),
                ("siglip_vision", 32, "pooled output of the vision tower"),
                ("siglip2_vision", 32, "pooled output of the vision tower"),
                ("aimv2", 32, "pooled output of the vision tower"),
                ("dinov3", 32, "pooled output of DINOv3ViTModel"),
                ("dinov3_convnext", 32, "pooled output of DINOv3ConvNextModel"),
                ("dinov2_base", 64, "classifier of Dinov2ForImageClassification reads"),
                ("resnet_base", 32, "classifier of ResNetForImageClassification reads"),
                ("vit_masked", 32, "Left out: decoder"),
                ("vit_mae", 32, "classifier of ViTForImageClassification reads"),
                ("metaclip_2_vision", 32, "pooled output of the vision tower"),
                ("beit_masked", 32, "mean of the last layer's tokens"),
            ]
        ),
    ],
)
def test_a_network_without_classifier_gives_features(tmp_path: Path, name: str, width: int, note: str) -> None:
    write(tmp_path, name)
    converted = read(tmp_path)
    assert converted.network.num_classes == 0
    assert converted.labels is None
    with torch.no_grad():
        assert converted.network(draw(2)).shape == (2, width)
    assert note in " ".join(converted.notes)
    assert_same(converted)
    assert_cuts(converted)


def test_facts_come_from_the_folder(tmp_path: Path) -> None:
    labels = {number: f"class {number}" for number in range(7)}
    write(tmp_path, "vit", id2label=labels, label2id={name: number for number, name in labels.items()})
    write_processor(tmp_path, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\ntags: [x]\n---\nlicense: none\n")
    converted = read(tmp_path)
    assert converted.labels == list(labels.values())
    assert converted.licence == "cc-by-4.0"
    assert converted.preprocessing.mean == (0.1, 0.2, 0.3)
    assert converted.preprocessing.crop_mode == "squash"


def test_what_the_folder_does_not_say_stays_open(tmp_path: Path) -> None:
    write(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").unlink()
    converted = read(tmp_path)
    assert converted.input_size == (3, 64, 64)
    assert (converted.preprocessing.mean, converted.labels, converted.licence) == (None, None, None)


def test_positions_are_interpolated_for_images_of_another_size(tmp_path: Path) -> None:
    network = write(tmp_path, "vit")
    converted = read(tmp_path, side=96)
    assert converted.input_size == (3, 96, 96)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = network(images, interpolate_pos_encoding=True).logits
        assert (converted.network(images) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_are_read_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    network = build(*CLASSIFIERS["vit"])
    transformers_networks.write(tmp_path, network.to(dtype))
    write_processor(tmp_path)
    converted = read(tmp_path)
    assert {tensor.dtype for tensor in converted.network.parameters()} == {torch.float32}
    network.float()
    with torch.no_grad():
        assert (converted.network(draw(2)) - network(draw(2)).logits).abs().max() < 1e-5


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    network = build(*CLASSIFIERS["vit"])
    network.save_pretrained(tmp_path, max_shard_size="20KB")
    write_processor(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    with torch.no_grad():
        assert torch.equal(read(tmp_path).network(draw(2)), network(draw(2)).logits)
    shards[1].unlink()
    with pytest.raises(FileBroken, match=shards[1].name):
        read(tmp_path)


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace tensors of a folder's weights; None removes one."""
    file = folder / "model.safetensors"
    state = load_file(file) | {name: tensor for name, tensor in changes.items() if tensor is not None}
    save_file(
        {name: tensor for name, tensor in state.items() if changes.get(name, tensor) is not None},
        file,
        {"format": "pt"},
    )


WEIGHT = "vit.layernorm.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({WEIGHT: None}, f"lack {WEIGHT}.*by chance"),
        ({"classifier.weight": None, "classifier.bias": None}, "lack classifier.bias, classifier.weight"),
        ({"vit.layers.9.output.dense.weight": torch.zeros(2)}, "no place for"),
        ({WEIGHT: torch.ones(5)}, "do not fit"),
        ({WEIGHT: torch.full((32,), torch.nan)}, "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    write(tmp_path, "vit")
    change_weights(tmp_path, **changes)
    with pytest.raises(ConversionError, match=message):
        read(tmp_path)


def test_what_no_part_of_the_network_needs_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "vit")
    change_weights(tmp_path, **{"vit.embeddings.position_ids": torch.arange(17)})
    assert "vit.embeddings.position_ids" in " ".join(read(tmp_path).notes)


CODE = "modeling_custom.CustomModel"


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("config.json", {"auto_map": {"AutoModel": CODE}}, UnsupportedModel, f"{CODE}.*never run"),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": CODE}}, UnsupportedModel, CODE),
        ("config.json", {"model_type": "no_such_type"}, UnsupportedModel, "no architecture 'no_such_type'"),
        ("config.json", {"model_type": "bert", "architectures": ["BertModel"]}, UnsupportedModel, "bert is neither"),
        ("config.json", {"architectures": ["NoSuchForImageClassification"]}, UnsupportedModel, "has no NoSuch"),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}, UnsupportedModel, "quantized"),
        ("config.json", {"hidden_size": 33}, FileBroken, "ViTForImageClassification"),
        ("config.json", {"num_hidden_layers": 3}, FileBroken, "lack"),
        ("config.json", {"model_type": None}, UnsupportedModel, "no model_type"),
        ("adapter_config.json", {}, UnsupportedModel, "adapter"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    tmp_path: Path, file: str, content: dict[str, Any], error: type[Exception], message: str
) -> None:
    write(tmp_path, "vit")
    path = tmp_path / file
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **content}))
    with pytest.raises(error, match=message):
        read(tmp_path)


def test_code_of_the_folder_never_runs(tmp_path: Path) -> None:
    write(tmp_path, "vit", auto_map={"AutoConfig": "code.Config", "AutoModelForImageClassification": "code.Model"})
    proof = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"open({str(proof)!r}, 'w')")
    with pytest.raises(UnsupportedModel):
        read(tmp_path)
    assert not proof.exists()


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    write(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(WeightsUnsafe, match=r"pytorch_model\.bin.*safe_serialization"):
        read(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, file: str) -> None:
    write(tmp_path, "vit")
    content = (tmp_path / file).read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"[" * 100_000):
        (tmp_path / file).write_bytes(damaged)
        with pytest.raises(FileBroken, match=file):
            read(tmp_path)


def test_a_size_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "vit")
    with pytest.raises(UnsupportedModel, match="does not take images of 70x70"):
        read(tmp_path, side=70)
