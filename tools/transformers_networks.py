"""Small networks of transformers with random weights that tell images apart, for the coverage and the tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

LEVIT: dict[str, Any] = {
    "image_size": 64,
    "hidden_sizes": [16, 24, 32],
    "num_attention_heads": [2, 2, 2],
    "depths": [1, 1, 1],
    "key_dim": [8, 8, 8],
}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
SWIN = {"image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4}
PERCEIVER = {
    "num_latents": 8,
    "d_latents": 32,
    "num_blocks": 1,
    "num_self_attends_per_block": 1,
    "num_self_attention_heads": 2,
    "num_cross_attention_heads": 1,
    "image_size": 64,
}
CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", VIT),
    "deit": ("DeiTForImageClassification", VIT),
    "deit_distilled": ("DeiTForImageClassificationWithTeacher", VIT),
    "beit": ("BeitForImageClassification", {**VIT, "use_relative_position_bias": True}),
    "beit_shared": ("BeitForImageClassification", {**VIT, "use_shared_relative_position_bias": True}),
    "data2vec": ("Data2VecVisionForImageClassification", {**VIT, "use_relative_position_bias": True}),
    "dinov2": ("Dinov2ForImageClassification", {**VIT, "image_size": 112}),
    "dinov2_registers": ("Dinov2WithRegistersForImageClassification", {**VIT, "num_register_tokens": 4}),
    "clip": ("CLIPForImageClassification", {"vision_config": VIT, "text_config": {}}),
    "siglip": ("SiglipForImageClassification", {"vision_config": VIT, "text_config": {}}),
    "siglip2": ("Siglip2ForImageClassification", {"vision_config": {**VIT, "num_patches": 16}, "text_config": {}}),
    "swin": ("SwinForImageClassification", SWIN),
    "swinv2": ("Swinv2ForImageClassification", SWIN),
    "convnext": ("ConvNextForImageClassification", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}),
    "convnextv2": ("ConvNextV2ForImageClassification", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}),
    "resnet": (
        "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    ),
    "regnet": (
        "RegNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "groups_width": 4},
    ),
    "efficientnet": (
        "EfficientNetForImageClassification",
        {"width_coefficient": 0.25, "depth_coefficient": 0.2, "image_size": 64, "hidden_dim": 320},
    ),
    "mobilenet_v1": ("MobileNetV1ForImageClassification", {"depth_multiplier": 0.25, "image_size": 64}),
    "mobilenet_v2": ("MobileNetV2ForImageClassification", {"depth_multiplier": 0.25, "image_size": 64}),
    "mobilevit": (
        "MobileViTForImageClassification",
        {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64], "image_size": 64},
    ),
    "mobilevitv2": ("MobileViTV2ForImageClassification", {"width_multiplier": 0.25, "image_size": 64}),
    "levit": ("LevitForImageClassification", LEVIT),
    "pvt": (
        "PvtForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 4],
        },
    ),
    "pvt_v2": (
        "PvtV2ForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 4],
        },
    ),
    "segformer": ("SegformerForImageClassification", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "poolformer": ("PoolFormerForImageClassification", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "bit": (
        "BitForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "num_groups": 4},
    ),
    "cvt": ("CvtForImageClassification", {"depth": [1, 2, 3], "embed_dim": [16, 48, 96]}),
    "focalnet": (
        "FocalNetForImageClassification",
        {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3]},
    ),
    "hgnet_v2": ("HGNetV2ForImageClassification", {}),
    "hiera": (
        "HieraForImageClassification",
        {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    ),
    "ijepa": ("IJepaForImageClassification", VIT),
    "swiftformer": (
        "SwiftFormerForImageClassification",
        {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32]},
    ),
    "vit_msn": ("ViTMSNForImageClassification", VIT),
    "pp_lcnet": ("PPLCNetForImageClassification", {"scale": 0.25}),
    "textnet": ("TextNetForImageClassification", {}),
    "donut_swin": ("DonutSwinForImageClassification", SWIN),
    "dinat": ("DinatForImageClassification", {}),
    "levit_distilled": ("LevitForImageClassificationWithTeacher", LEVIT),
    "metaclip_2": ("MetaClip2ForImageClassification", {"vision_config": VIT, "text_config": {}}),
    "imagegpt": ("ImageGPTForImageClassification", {"n_embd": 32, "n_layer": 2, "n_head": 2}),
    "perceiver_learned": ("PerceiverForImageClassificationLearned", PERCEIVER),
    "perceiver_fourier": ("PerceiverForImageClassificationFourier", PERCEIVER),
    "perceiver_convolutional": ("PerceiverForImageClassificationConvProcessing", PERCEIVER),
    "timm_wrapper": ("TimmWrapperForImageClassification", {"architecture": "test_vit"}),
}
"""Image classifiers: a name → class and configuration."""
TOWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov3": ("DINOv3ViTModel", {**VIT, "num_register_tokens": 4}),
    "dinov3_convnext": (
        "DINOv3ConvNextModel",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "image_size": 64},
    ),
    "clip_vision": ("CLIPVisionModel", VIT),
    "siglip_vision": ("SiglipVisionModel", VIT),
    "siglip2_vision": ("Siglip2VisionModel", {**VIT, "num_patches": 16}),
    "clip_both": (
        "CLIPModel",
        {
            "vision_config": VIT,
            "text_config": {
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "intermediate_size": 32,
                "num_attention_heads": 2,
                "vocab_size": 99,
            },
        },
    ),
    "siglip_both": (
        "SiglipModel",
        {
            "vision_config": VIT,
            "text_config": {
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "intermediate_size": 32,
                "num_attention_heads": 2,
                "vocab_size": 99,
            },
        },
    ),
    "vit_base": ("ViTModel", VIT),
    "dinov2_base": ("Dinov2Model", VIT),
    "beit_masked": ("BeitForMaskedImageModeling", VIT),
    "resnet_base": ("ResNetModel", {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}),
    "vit_masked": ("ViTForMaskedImageModeling", VIT),
    "aimv2": ("Aimv2VisionModel", VIT),
    "metaclip_2_vision": ("MetaClip2VisionModel", VIT),
    "mlcd_vision": ("MLCDVisionModel", {**VIT, "num_key_value_groups": 1}),
    "pixio": ("PixioModel", VIT),
    "vit_mae": ("ViTMAEForPreTraining", VIT),
    "swin_base": ("SwinModel", SWIN),
    "convnext_base": ("ConvNextModel", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}),
    "efficientnet_base": (
        "EfficientNetModel",
        {"width_coefficient": 0.25, "depth_coefficient": 0.2, "image_size": 64, "hidden_dim": 320},
    ),
    "mobilenet_v2_base": ("MobileNetV2Model", {"depth_multiplier": 0.25, "image_size": 64}),
}
"""Networks without a classifier."""


def build(class_name: str, arguments: dict[str, Any]) -> Any:
    """Build a network of transformers with weights that tell images apart."""
    network_class = getattr(transformers, class_name)
    torch.manual_seed(0)
    labels = {} if class_name.endswith("Model") else {"num_labels": 7}
    network = network_class(network_class.config_class(**arguments, **labels)).eval()
    enliven(network)
    return network


@torch.no_grad()
def enliven(network: nn.Module) -> None:
    """Draw weights anew so that outputs differ from image to image, and BatchNorm's statistics are not the default."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(1.5 * drawn / max(1, parameter[0].numel()) ** 0.5)
        elif name.endswith("weight"):
            parameter.copy_(1 + 0.2 * drawn)
        else:
            parameter.copy_(0.2 * drawn)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


def write(folder: Path, network: Any, **config: Any) -> Path:
    """Write a network as transformers does, with these entries changed in its config.json."""
    network.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return folder
