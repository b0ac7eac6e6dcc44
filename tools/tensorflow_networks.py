"""Small Keras networks with random weights that tell images apart, for make_tensorflow_files.py.

Their BatchNorm statistics are those of the images, and the last layer is scaled until the logits of the images differ
by about 1.6. A network that gives every image the same output would agree with any wrong copy of itself.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SIDE = 64
CLASSES = 5
SPREAD = 1.6
"""Standard deviation of a class's logit over the images that the last layer is scaled to."""


def make_images(count: int, seed: int) -> np.ndarray:
    """Draw smooth random images (count, SIDE, SIDE, 3), uint8, each with colours and contrast of its own."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(count, 9, 9, 3)) * generator.uniform(20, 90, size=(count, 1, 1, 1))
    coarse += generator.uniform(60, 200, size=(count, 1, 1, 3))
    images = tf.image.resize(coarse, (SIDE, SIDE), method="bicubic").numpy()
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def bottleneck(x: object, filters: int, stride: int, name: str) -> object:
    """A block of MobileNetV2: expand, depthwise convolution with SAME padding, project, add."""
    before = x
    x = layers.Conv2D(2 * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_expand_norm")(x)
    x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
    x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_depthwise_norm")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_norm")(x)
    if stride == 1 and before.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([before, x])
    return x


def build_mobile() -> keras.Model:
    """A small MobileNetV2 that takes 0 to 255 and ends in a softmax."""
    images = layers.Input((SIDE, SIDE, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(images)
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name="stem_norm")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    for index, (filters, stride) in enumerate([(16, 1), (24, 2), (24, 1), (32, 2)]):
        x = bottleneck(x, filters, stride, f"block{index}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.Dense(CLASSES, name="logits")(x)
    return keras.Model(images, layers.Softmax(name="probabilities")(x), name="mobile")


def build_plain() -> keras.Model:
    """A convolutional network that takes -1 to 1 and gives logits: pooling with SAME and VALID padding, Flatten."""
    return keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3), name="image"),
            layers.Conv2D(8, 5, 2, "same", activation="relu", name="conv1"),
            layers.MaxPooling2D(3, 2, "same", name="pool1"),
            layers.Conv2D(12, 3, 1, "valid", activation="relu", name="conv2"),
            layers.AveragePooling2D(3, 2, "same", name="pool2"),
            layers.BatchNormalization(name="norm"),
            layers.SeparableConv2D(16, 3, padding="same", activation="relu", name="separable"),
            layers.MaxPooling2D(2, name="pool3"),
            layers.Flatten(name="flatten"),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dense(CLASSES, name="logits"),
        ],
        name="plain",
    )


def build_squeeze() -> keras.Model:
    """Normalization by channel inside, squeeze and excitation, hard swish, branches that are concatenated."""
    images = layers.Input((SIDE, SIDE, 3), name="image")
    mean, variance = [110.0, 120.0, 130.0], [3000.0, 3500.0, 4000.0]
    x = layers.Normalization(axis=-1, mean=mean, variance=variance, name="normalization")(images)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
    x = layers.Conv2D(8, 3, 2, name="stem")(x)
    x = layers.BatchNormalization(name="stem_norm")(x)
    x = layers.Activation("hard_swish", name="stem_swish")(x)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    squeezed = layers.Conv2D(4, 1, activation="relu", name="squeeze_reduce")(squeezed)
    squeezed = layers.Conv2D(8, 1, activation="hard_sigmoid", name="squeeze_expand")(squeezed)
    x = layers.Multiply(name="excite")([x, squeezed])
    branches = [
        layers.Conv2D(8, 3, 2, "same", activation="swish", name="branch0")(x),
        layers.AveragePooling2D(2, name="branch1")(x),
        layers.MaxPooling2D(2, name="branch2")(layers.LeakyReLU(negative_slope=0.1, name="leaky")(x)),
    ]
    x = layers.Concatenate(name="concatenate")(branches)
    x = layers.Conv2D(24, 3, dilation_rate=2, padding="same", name="dilated")(x)
    x = layers.BatchNormalization(name="dilated_norm")(x)
    x = layers.Activation("relu", name="dilated_relu")(x)
    x = layers.Conv2D(24, 1, groups=2, name="grouped")(x)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(CLASSES, activation="softmax", name="classifier")(x), name="squeeze")


def build_attention() -> keras.Model:
    """A small vision transformer: patches, a block of attention and MLP, LayerNorm, GELU, mean of the tokens."""
    images = layers.Input((SIDE, SIDE, 3), name="image")
    x = layers.Rescaling(1 / 255, name="rescaling")(images)
    x = layers.Conv2D(16, 16, 16, name="patches")(x)
    x = layers.Reshape((16, 16), name="tokens")(x)
    y = layers.LayerNormalization(epsilon=1e-6, name="norm_a")(x)
    y = layers.MultiHeadAttention(2, 8, name="attention")(y, y)
    x = layers.Add(name="add_a")([x, y])
    y = layers.LayerNormalization(epsilon=1e-6, name="norm_b")(x)
    y = layers.Dense(32, activation="gelu", name="mlp_a")(y)
    y = layers.Dense(16, name="mlp_b")(y)
    x = x + y
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(images, layers.Dense(CLASSES, name="logits")(x), name="attention")


def build_transferred() -> keras.Model:
    """A network in a network, as Keras's guide to transfer learning builds it, with augmentation before it."""
    images = layers.Input((SIDE, SIDE, 3), name="image")
    inner = layers.Input((SIDE, SIDE, 3), name="inner_image")
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False, name="stem")(inner)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    x = bottleneck(x, 12, 2, "block")
    base = keras.Model(inner, x, name="base")
    x = layers.RandomFlip("horizontal", name="flip")(images)
    x = layers.RandomRotation(0.1, name="rotation")(x)
    x = x / 127.5 - 1.0
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(CLASSES, name="logits")(x), name="transferred")


def build_headless() -> keras.Model:
    """A network without head, which ends in maps of 4x4, as of `include_top=False`."""
    images = layers.Input((SIDE, SIDE, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(images)
    for index, filters in enumerate((8, 12, 16, 24)):
        x = layers.Conv2D(filters, 3, 2, "same", use_bias=False, name=f"conv{index}")(x)
        x = layers.BatchNormalization(name=f"norm{index}")(x)
        x = layers.Activation("relu", name=f"relu{index}")(x)
    return keras.Model(images, x, name="headless")


def make_alive(model: keras.Model, images: np.ndarray) -> keras.Model:
    """Give BatchNorm the statistics of the images, random scales, and the last layer a spread of logits."""
    generator = np.random.default_rng(1)
    every = [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, layers.Layer)]
    norms = [layer for layer in every if isinstance(layer, layers.BatchNormalization)]
    for norm in norms:
        size = norm.gamma.shape
        norm.gamma.assign(generator.uniform(0.7, 1.3, size))
        norm.beta.assign(generator.normal(0, 0.3, size))
        norm.momentum = 0.0
    for layer in every:
        if getattr(layer, "use_bias", False) and getattr(layer, "bias", None) is not None:
            layer.bias.assign(generator.normal(0, 0.1, layer.bias.shape))
    model(images, training=True)
    for inner in every:
        if isinstance(inner, keras.Model):  # one that is called with training=False takes -1 to 1
            inner(images / 127.5 - 1.0, training=True)
    for norm in norms:
        norm.momentum = 0.99
    if len(model.outputs[0].shape) == 4:  # no head to scale
        return model
    last = next(layer for layer in reversed(every) if isinstance(layer, layers.Dense | layers.Conv2D))
    activation, last.activation = last.activation, keras.activations.linear
    softmax = model.layers[-1] if isinstance(model.layers[-1], layers.Softmax) else None
    logits = keras.Model(model.inputs, softmax.input if softmax else model.outputs)(images, training=False).numpy()
    scale = SPREAD / logits.std(0).mean()
    last.kernel.assign(last.kernel * scale)
    last.bias.assign((last.bias - logits.mean(0)) * scale)
    last.activation = activation
    model(images, training=False)
    return model
