"""Copy a network to other libraries: a MobileNetV2 of timm to torchvision and Keras, a ViT of timm to transformers.

Its trained weights are copied, so that each library's own file holds the network whose accuracy is known.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path


def write_torchvision(network: Any, file: Path) -> None:
    """Write the weights of timm's mobilenetv2_100 as torchvision's mobilenet_v2: both have them in the same order."""
    other = torchvision.models.mobilenet_v2()
    own, names = list(network.state_dict().values()), list(other.state_dict())
    other.load_state_dict(dict(zip(names, own, strict=True)))
    _check_equal(network, other)
    getattr(torch, "save")(other.state_dict(), file)  # noqa: B009  # only benchmarks write such files


def write_transformers(network: Any, preprocessing: Any, folder: Path) -> None:
    """Write a plain ViT of timm as a folder of transformers."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=network.embed_dim,
        num_hidden_layers=len(network.blocks),
        num_attention_heads=network.blocks[0].attn.num_heads,
        intermediate_size=network.blocks[0].mlp.fc1.out_features,
        image_size=preprocessing.input_size[1],
        patch_size=network.patch_embed.patch_size[0],
        layer_norm_eps=network.norm.eps,
        num_labels=network.num_classes,
    )
    other = ViTForImageClassification(config)
    other.load_state_dict(_rename_vit(network.state_dict()))
    _check_equal(network, lambda images: other.eval()(images).logits)
    other.save_pretrained(folder)
    side = preprocessing.input_size[1]
    edge = round(side / preprocessing.crop_pct)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": edge},
        "crop_size": {"height": side, "width": side},
        "resample": {"bilinear": 2, "bicubic": 3}[preprocessing.interpolation],
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def _rename_vit(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
        "norm": "vit.layernorm",
        "head": "classifier",
        "attn.proj": "attention.o_proj",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    renamed = {}
    for name, tensor in state.items():
        module, _, kind = name.rpartition(".")
        if not module.startswith("blocks."):
            renamed[names[name] if name in names else f"{names[module]}.{kind}"] = tensor
            continue
        _, number, part = module.split(".", 2)
        layer = f"vit.layers.{number}"
        if part == "attn.qkv":
            for which, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{layer}.attention.{which}_proj.{kind}"] = piece
        else:
            renamed[f"{layer}.{names[part]}.{kind}"] = tensor
    return renamed


def write_keras(network: Any, file: Path) -> None:
    """Write timm's mobilenetv2_100 as a network of Keras, of registered layers alone."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    weights: list[tuple[Any, list[Any]]] = []
    side = 224
    images = values = keras.Input((side, side, 3))
    for block in [
        network.conv_stem,
        network.bn1,
        *(block for stage in network.blocks for block in stage),
        network.conv_head,
        network.bn2,
    ]:
        values = _add_block(keras, values, block, weights)
    values = keras.layers.GlobalAveragePooling2D()(values)
    linear = network.classifier
    layer = keras.layers.Dense(linear.out_features)
    model = keras.Model(images, layer(values))
    weights.append((layer, [linear.weight.T, linear.bias]))
    for layer, tensors in weights:
        layer.set_weights([tensor.detach().numpy() for tensor in tensors])
    _check_equal(network, lambda batch: torch.as_tensor(model(batch.permute(0, 2, 3, 1).numpy())))
    model.save(file)


def _add_block(keras: Any, values: Any, block: nn.Module, weights: list[tuple[Any, list[Any]]]) -> Any:
    """Add a block of timm: convolutions, norms with activations, and the sum of its ends where it has one."""
    before = values
    for module in [block] if isinstance(block, nn.Conv2d | nn.BatchNorm2d) else block.children():
        if isinstance(module, nn.Conv2d):
            values = _add_convolution(keras, values, module, weights)
        elif isinstance(module, nn.BatchNorm2d):
            layer = keras.layers.BatchNormalization(epsilon=module.eps)
            values = layer(values)
            weights.append((layer, [module.weight, module.bias, module.running_mean, module.running_var]))
            if isinstance(module.act, nn.ReLU6):
                values = keras.layers.ReLU(6.0)(values)
    return keras.layers.Add()([before, values]) if getattr(block, "has_skip", False) else values


def _add_convolution(keras: Any, values: Any, module: nn.Conv2d, weights: list[tuple[Any, list[Any]]]) -> Any:
    if module.padding != (0, 0):
        values = keras.layers.ZeroPadding2D(module.padding)(values)
    given = {"kernel_size": module.kernel_size, "strides": module.stride, "use_bias": False}
    if module.groups > 1:
        layer = keras.layers.DepthwiseConv2D(**given)
        kernel = module.weight.permute(2, 3, 0, 1)
    else:
        layer = keras.layers.Conv2D(module.out_channels, **given)
        kernel = module.weight.permute(2, 3, 1, 0)
    values = layer(values)
    weights.append((layer, [kernel]))
    return values


@torch.no_grad()
def _check_equal(network: Any, other: Any) -> None:
    """Check that another library's network computes the same, but for rounding."""
    if isinstance(other, nn.Module):
        other.eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected, found = network.eval()(images), other(images)
    difference = float((expected - found).abs().max() / expected.abs().max())
    if not difference < 1e-4:
        raise SystemExit(f"The weights do not fit the other library's network: its outputs differ by {difference:.1e}.")
