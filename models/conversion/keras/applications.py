"""Closed list of architectures whose weights alone can be read: their layers, as Keras defines them, and their input.

A file of weights names no architecture and no preprocessing, and fits others in shape. Only architectures whose
epsilon, padding and input are the same wherever their weights come from are in the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.conversion.converted import PreprocessingFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTHS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4)
"""Multiples of the number of channels that MobileNets are published with."""
CAFFE_MEAN = (103.939 / 255, 116.779 / 255, 123.68 / 255)
"""Mean of ImageNet's images in blue, green and red."""


@dataclass(frozen=True)
class Application:
    """An architecture with one way of preprocessing."""

    name: str
    builder: str
    """Name of the function in keras.applications; empty for SqueezeNet, which is none of Keras's."""
    side: int
    """Height and width of the images that it was published for."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: str = "rgb"
    widths: Sequence[float | None] = (None,)

    @property
    def scales_inside(self) -> bool:
        """Tell whether the network itself normalizes images from 0 to 255."""
        return self.std == BYTES and self.mean == ZEROS

    def build(self, classes: int | None, input_size: tuple[int, int, int], width: float | None) -> Any:
        """Build the network in Keras, without weights; `classes` is None for one without head."""
        import keras

        shape = (*input_size[1:], 3)
        if not self.builder:
            return _build_squeezenet(classes, shape)
        options = {} if width is None else {"alpha": width}
        top = {"include_top": False, "pooling": "avg"} if classes is None else {"classes": classes}
        build: Callable[..., Any] = getattr(keras.applications, self.builder)
        return build(weights=None, input_shape=shape, **options, **top)

    def facts(self) -> PreprocessingFacts:
        """State the preprocessing of this architecture's published weights."""
        sentence = f"Weights of {self.name} are published for this mean, deviation and order of channels."
        order: Any = self.channel_order
        return PreprocessingFacts(mean=self.mean, std=self.std, channel_order=order, evidence=(sentence,))


HALF, BYTES = (0.5, 0.5, 0.5), (1 / 255, 1 / 255, 1 / 255)
ZEROS = (0.0, 0.0, 0.0)
APPLICATIONS = (
    Application("MobileNet", "MobileNet", 224, HALF, HALF, widths=WIDTHS),
    Application("MobileNetV2", "MobileNetV2", 224, HALF, HALF, widths=WIDTHS),
    *(
        Application(f"EfficientNetB{number}", f"EfficientNetB{number}", side, ZEROS, BYTES)
        for number, side in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    ),
    Application("SqueezeNet 1.1", "", 227, CAFFE_MEAN, BYTES, channel_order="bgr"),
)
ALIASES = {"mobilenetv1": "mobilenet", "squeezenet": "squeezenet11"}


def find_application(architecture: str) -> Application | None:
    """Find an architecture by its name, in any spelling: mobilenet_v2, MobileNetV2, keras/mobilenetv2."""
    wanted = re.sub(r"[^a-z0-9]", "", architecture.lower().rsplit("/", 1)[-1].removeprefix("tf_"))
    wanted = ALIASES.get(wanted, wanted)
    known = {re.sub(r"[^a-z0-9]", "", application.name.lower()): application for application in APPLICATIONS}
    return known.get(wanted)


def _build_squeezenet(classes: int | None, shape: tuple[int, ...]) -> Any:
    """SqueezeNet 1.1 (Iandola et al., 2016) in Keras: no padding but in the 3x3 convolutions of its fire modules."""
    from keras import Model, layers

    def fire(x: Any, number: int, squeezed: int, expanded: int) -> Any:
        x = layers.Conv2D(squeezed, 1, activation="relu", name=f"fire{number}_squeeze1x1")(x)
        left = layers.Conv2D(expanded, 1, activation="relu", name=f"fire{number}_expand1x1")(x)
        right = layers.Conv2D(expanded, 3, padding="same", activation="relu", name=f"fire{number}_expand3x3")(x)
        return layers.Concatenate(name=f"fire{number}_concat")([left, right])

    image = layers.Input(shape, name="image")
    x = layers.Conv2D(64, 3, 2, activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = fire(fire(x, 2, 16, 64), 3, 16, 64)
    x = layers.MaxPooling2D(3, 2, name="pool3")(x)
    x = fire(fire(x, 4, 32, 128), 5, 32, 128)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = fire(fire(fire(fire(x, 6, 48, 192), 7, 48, 192), 8, 64, 256), 9, 64, 256)
    if classes is not None:
        x = layers.Conv2D(classes, 1, activation="relu", name="conv10")(x)
    x = layers.GlobalAveragePooling2D(name="pool10")(x)
    return Model(image, x, name="squeezenet")
