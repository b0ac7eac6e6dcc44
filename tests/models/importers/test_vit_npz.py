"""Vision transformers of JAX: made of timm's network, read back to the bit; every array has its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch

from models.importers import vit_npz
from models.importers.errors import ImportRejected
from models.importers.request import ImportRequest
from tests.support.networks import given

if TYPE_CHECKING:
    from pathlib import Path

    from models.importers.reader import ReadNetwork

NAME = "vit_tiny_patch16_224"


def build(num_classes: int = 3) -> Any:
    """Build a vision transformer for images of 64 pixels."""
    torch.manual_seed(0)
    return timm.create_model(NAME, img_size=64, num_classes=num_classes).eval()


def to_jax(network: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Give a network's weights the names and shapes of AugReg's files, or of big_vision's under params/."""
    positions, numbers = "Transformer/posembed_input/pos_embedding", (1, 3, 2)
    if prefix == "params/":
        positions, numbers = "pos_embedding", (0, 0, 1)
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    heads = network.blocks[0].attn.num_heads
    found = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        positions: state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    if "head.weight" in state:
        found.update({"head/kernel": state["head.weight"].T, "head/bias": state["head.bias"]})
    for index in range(len(network.blocks)):
        own, block = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        for number, norm in ((0, "norm1"), (numbers[2], "norm2")):
            found[f"{block}LayerNorm_{number}/scale"] = state[f"{own}{norm}.weight"]
            found[f"{block}LayerNorm_{number}/bias"] = state[f"{own}{norm}.bias"]
        for number, layer in enumerate(("fc1", "fc2")):
            found[f"{block}MlpBlock_{numbers[1]}/Dense_{number}/kernel"] = state[f"{own}mlp.{layer}.weight"].T
            found[f"{block}MlpBlock_{numbers[1]}/Dense_{number}/bias"] = state[f"{own}mlp.{layer}.bias"]
        attention = f"{block}MultiHeadDotProductAttention_{numbers[0]}/"
        width = state[f"{own}norm1.weight"].shape[0]
        for part, kind in enumerate(("query", "key", "value")):
            rows = slice(part * width, (part + 1) * width)
            found[f"{attention}{kind}/kernel"] = state[f"{own}attn.qkv.weight"][rows].T.reshape(width, heads, -1)
            found[f"{attention}{kind}/bias"] = state[f"{own}attn.qkv.bias"][rows].reshape(heads, -1)
        found[f"{attention}out/kernel"] = state[f"{own}attn.proj.weight"].T.reshape(heads, -1, width)
        found[f"{attention}out/bias"] = state[f"{own}attn.proj.bias"]
    return {f"{prefix}{name}": np.ascontiguousarray(value) for name, value in found.items()}


def read(file: Path, architecture: str | None = NAME) -> ReadNetwork:
    """Read a file."""
    return vit_npz.read(ImportRequest(file=file, folder=file.parent, architecture=architecture))


@pytest.mark.parametrize("prefix", ["", "opt/target/", "params/"])
@pytest.mark.parametrize("num_classes", [3, 0])
def test_a_network_is_read_back_to_the_bit(tmp_path: Path, prefix: str, num_classes: int) -> None:
    whole = build(num_classes)
    np.savez(tmp_path / "a.npz", **to_jax(whole, prefix))
    found = read(tmp_path / "a.npz")
    images = given((3, 64, 64))
    assert torch.equal(found.network.eval()(images), whole(images))
    assert (found.network.num_classes, found.model_args) == (num_classes, {"img_size": [64, 64]})


def test_missing_and_superfluous_arrays_are_refused(tmp_path: Path) -> None:
    arrays = to_jax(build())
    for changed, words in (
        ({**arrays, "pre_logits/kernel": np.zeros((192, 192), np.float32)}, "all are filled"),
        ({name: value for name, value in arrays.items() if name != "head/bias"}, "head.bias"),
        ({name: value for name, value in arrays.items() if "encoder_norm/scale" not in name}, "vit_tiny_patch16_224"),
    ):
        np.savez(tmp_path / "a.npz", **changed)
        with pytest.raises(ImportRejected, match=words) as no:
            read(tmp_path / "a.npz")
        assert no.value.code == "weights_unfit"
    np.savez(tmp_path / "a.npz", **arrays)
    for other in ("vit_small_patch16_224", "test_resnet"):
        with pytest.raises(ImportRejected, match="vit_tiny_patch16_224"):
            read(tmp_path / "a.npz", other)


def test_the_architecture_is_asked_for_with_a_proposal(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **to_jax(build()))
    with pytest.raises(ImportRejected, match="probably vit_tiny_patch16_224") as no:
        read(tmp_path / "a.npz", None)
    assert no.value.code == "architecture_needed"


def test_python_objects_and_other_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"embedding/kernel": np.array([print], dtype=object)})
    with pytest.raises(ImportRejected) as no:
        read(tmp_path / "a.npz")
    assert no.value.code == "file_unsafe"
    np.savez(tmp_path / "a.npz", weight=np.zeros(3))
    with pytest.raises(ImportRejected, match="not the arrays of a vision transformer"):
        read(tmp_path / "a.npz")
