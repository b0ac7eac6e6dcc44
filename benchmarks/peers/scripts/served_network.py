"""A checkpoint of Graft as its documentation loads it, in timm, compiled by OpenVINO; for servers of one model."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import openvino
import timm
import torch
from PIL import Image
from safetensors import safe_open

if TYPE_CHECKING:
    from pathlib import Path


class ServedNetwork:
    """Image file → the most probable class."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        count, arguments = int(metadata["num_classes"]), json.loads(metadata["model_args"])
        network = timm.create_model(
            metadata["architecture"], num_classes=count, **arguments, checkpoint_path=str(path)
        ).eval()
        config = timm.data.resolve_data_config(json.loads(metadata["pretrained_cfg"]))
        self.transform = timm.data.create_transform(**config)
        self.classes = json.loads(metadata["class_names"])
        example = torch.zeros(1, *config["input_size"])
        with torch.no_grad():
            model = openvino.convert_model(network, example_input=example, input=[tuple(example.shape)])
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.compiled = openvino.Core().compile_model(model, "CPU", options)

    def open(self, data: bytes) -> np.ndarray:
        """Decode and prepare an image, (1, 3, H, W)."""
        return self.transform(Image.open(io.BytesIO(data)).convert("RGB"))[None].numpy()

    def predict(self, pixels: np.ndarray) -> dict[str, object]:
        """Predict one image."""
        logits = self.compiled(pixels)[0][0]
        powers = np.exp(logits - logits.max())
        best = int(logits.argmax())
        return {"name": self.classes[best], "probability": float(powers[best] / powers.sum())}
