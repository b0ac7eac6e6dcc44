"""predict.py of a bundle: a program that needs the listed packages alone, measured in a process of its own."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.exporters.errors import ParityBroken
from models.exporters.parity import compare, concatenate, require_parity
from models.images.decode import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from PIL import Image

    from models.exporters.loaded import Loaded

REQUIREMENTS = "torch\ntorchvision\ntimm\nsafetensors\npillow>=13.0\nnumpy\n"
"""Older versions of Pillow resize some images to slightly other pixels."""
OPENING = '''"""Predict the classes of images: python predict.py IMAGE…"""
import json, sys
from pathlib import Path
import numpy, timm, torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file

weights = Path(__file__).with_name("model.safetensors")
with safe_open(weights, "pt") as file:
    metadata = file.metadata()
depth = json.loads(metadata["decoding"])["depth"] or 16  # bits of the training's images of more than 8


def open_image(path):
    """Open an image as the training did: upright, on white, in 8 bits."""
    image = Image.open(path)
    if depth < 16 and ";16" in str(image.tile) and not image.mode.startswith("I"):
        sys.exit(f"{path}: colours of 16 bits are opened as in training by graft.images alone")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray(numpy.minimum(numpy.asarray(image) >> depth - 8, 255).astype("uint8"))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


'''
BUILD_TIMM = """network = timm.create_model(
    metadata["architecture"], num_classes=int(metadata["num_classes"]), **json.loads(metadata["model_args"])
)
"""
BUILD_TORCHVISION = """import torchvision

network = torchvision.models.get_model(
    metadata["architecture"].removeprefix("torchvision/"),
    num_classes=int(metadata["num_classes"]), **json.loads(metadata["model_args"])
)
"""
REPLACE = """for path, layers in json.loads(metadata.get("replaced", "{}")).items():
    modules = (getattr(torch.nn, kind)(**arguments) for kind, arguments in layers)
    network.set_submodule(path, torch.nn.Sequential(*modules))
"""
LOAD = """network.load_state_dict(load_file(weights))
network.eval()
"""
BUILD_GRAPH = """from network import load

network = load(weights)
"""
CLOSING = '''config = timm.data.resolve_data_config(json.loads(metadata["pretrained_cfg"]))
transform = timm.data.create_transform(**config)


def compute_logits(image):
    """Compute the logits of an open image."""
    with torch.no_grad():
        return network(transform(image)[None])[0]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        probabilities = compute_logits(open_image(path)).{function}
        names = json.loads(metadata["class_names"])
        print(path, {{name: round(float(p), 4) for name, p in zip(names, probabilities)}})
'''
SERVE = """import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
import predict
for line in sys.stdin:
    try:
        image = predict.open_image(line.rstrip("\\n"))
        pixels = hashlib.sha256(image.tobytes()).hexdigest()
        answer = {"pixels": pixels, "logits": predict.compute_logits(image).tolist()}
    except SystemExit:
        answer = {"pixels": None, "logits": None}
    print(json.dumps(answer), flush=True)
"""
"""Imports predict.py from a folder, and answers each path on a line with what it makes of that image."""


def write(metadata: Mapping[str, str], *, is_multi_label: bool) -> str:
    """Write the source of predict.py by the metadata of a checkpoint."""
    architecture = metadata["architecture"]
    if architecture == "graph":
        build = BUILD_GRAPH
    else:
        build = BUILD_TORCHVISION if architecture.startswith("torchvision/") else BUILD_TIMM
        build += (REPLACE if "replaced" in metadata else "") + LOAD
    return OPENING + build + CLOSING.format(function="sigmoid()" if is_multi_label else "softmax(0)")


def measure(folder: Path, loaded: Loaded, expected: np.ndarray, heartbeat: Callable[[], None]) -> dict[str, Any]:
    """Compare what predict.py computes of the test images' files, in a process of its own, with the expected logits.

    An image that it refuses, or opens to other pixels than the training did, is counted, and given as the pixels of the
    training. Raises ParityBroken.
    """
    pack = loaded.pack
    logits, opened_otherwise = [], 0
    with tempfile.TemporaryDirectory() as name, _Program(folder, Path(name)) as program:
        for image in loaded.test.images.tolist():
            data = pack.read_file(image)
            pixels = decode(data, pack.decoding)
            answer = program.predict(data)
            if answer["pixels"] != hashlib.sha256(pixels.tobytes()).hexdigest():
                opened_otherwise += 1
                answer = program.predict(_encode(pixels))
            logits.append(np.array([answer["logits"]], np.float32))
            heartbeat()
    found = concatenate(logits, len(loaded.classes))
    parity = compare(found, expected, is_multi_label=pack.is_multi_label)
    require_parity(parity, "bundle", lambda: "its layers, as predict.py loads them")
    return {"parity": parity, "opened_otherwise": opened_otherwise}


def _encode(image: Image.Image) -> bytes:
    """Encode an image without loss, in a format that every program opens to the same pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class _Program:
    """A process that has imported the predict.py of a folder."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder, self._image, self._errors = folder, scratch / "image", scratch / "errors"

    def __enter__(self) -> _Program:
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-P", "-c", SERVE, str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def predict(self, data: bytes) -> dict[str, Any]:
        """Predict an image's file: its pixels' digest and its logits. Raises ParityBroken where the process ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._image.write_bytes(data)
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{self._image}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            reason = " ".join(self._errors.read_text().splitlines()[-1:])[:300]
            raise ParityBroken(
                f"predict.py of the bundle ends with an error where it is run ({reason}). Use another format, such as "
                "safetensors."
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
