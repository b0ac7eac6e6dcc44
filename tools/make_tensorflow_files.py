"""Make the TensorFlow, TFLite and Keras files of tests/material/tensorflow, with TensorFlow's own outputs.

It runs in an environment of its own, as Graft needs no TensorFlow:

    python -m venv /tmp/tensorflow && /tmp/tensorflow/bin/pip install tensorflow-cpu==2.21.0 tf_keras
    TF_CPP_MIN_LOG_LEVEL=3 /tmp/tensorflow/bin/python -m tools.make_tensorflow_files [FOLDER]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tools.tensorflow_networks import (
    CLASSES,
    SIDE,
    SPREAD,
    build_attention,
    build_headless,
    build_mobile,
    build_plain,
    build_squeeze,
    build_transferred,
    make_alive,
    make_images,
)


def zip_folder(folder: Path, file: Path) -> None:
    """Write a folder's files into a zip, under the folder's own name."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "fingerprint.pb"):
            archive.write(path, Path(file.stem) / path.relative_to(folder))


def compress(file: Path, into: Path) -> None:
    """Copy a zip whose files are stored into one whose files are compressed."""
    with zipfile.ZipFile(file) as stored, zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))


def write_saved_model(model: keras.Model, file: Path) -> None:
    """Export by Keras as a SavedModel, in a zip."""
    with tempfile.TemporaryDirectory() as temporary:
        model.export(temporary + "/model", format="tf_saved_model", verbose=False)
        zip_folder(Path(temporary) / "model", file)


def convert(model: keras.Model, images: np.ndarray | None, **options: object) -> bytes:
    """Convert to TFLite with options of its converter; images to measure ranges on make it an integer network."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in options.items():
        setattr(converter, name, value)
    if images is not None:
        converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def run_tflite(content: bytes, images: np.ndarray) -> np.ndarray:
    """Run a TFLite file with TensorFlow's interpreter on images as the file takes them."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for image in images:
        if taken["dtype"] != np.float32:
            scale, zero = taken["quantization"]
            info = np.iinfo(taken["dtype"])
            image = np.clip(np.round(image / scale + zero), info.min, info.max)
        interpreter.set_tensor(taken["index"], image[None].astype(taken["dtype"]))
        interpreter.invoke()
        output = interpreter.get_tensor(given["index"])[0]
        if given["dtype"] != np.float32:
            scale, zero = given["quantization"]
            output = (output.astype(np.float32) - zero) * scale
        outputs.append(output)
    return np.stack(outputs)


class Described(tf.Module):
    """A module with several signatures: the classifier with two outputs, and its features."""

    def __init__(self, model: keras.Model, features: keras.Model) -> None:
        super().__init__()
        self.model, self.features = model, features

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")])
    def classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Give features and logits."""
        return {"features": self.features(image, training=False), "logits": self.model(image, training=False)}

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")])
    def embed(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Give features alone."""
        return {"embedding": self.features(image, training=False)}


def write_signatures(model: keras.Model, file: Path) -> None:
    """A SavedModel with two signatures, the first with two outputs."""
    features = keras.Model(model.inputs, model.get_layer("pool").output)
    described = Described(model, features)
    signatures = {"serving_default": described.classify, "embed": described.embed}
    with tempfile.TemporaryDirectory() as temporary:
        tf.saved_model.save(described, temporary + "/model", signatures=signatures)
        zip_folder(Path(temporary) / "model", file)


def write_module(file: Path, images: np.ndarray) -> np.ndarray:
    """A module of TensorFlow 1 as the Hub has them: two graphs, two signatures, fixed channels, no batch size."""
    v1 = tf.compat.v1
    generator = np.random.default_rng(3)

    def draw(name: str, *shape: int) -> tf.Tensor:
        deviation = (2 / np.prod(shape[:-1])) ** 0.5
        return v1.get_variable(name, initializer=generator.normal(0, deviation, shape).astype(np.float32))

    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        image = v1.placeholder(tf.float32, (None, SIDE, SIDE, 3), name="images")
        with v1.variable_scope("module/conv"):
            x = tf.nn.conv2d(image * 2.0 - 1.0, draw("kernel", 5, 5, 3, 12), 4, "SAME")
            ones, zeros = tf.fill((12,), 1.2), tf.fill((12,), 0.1)
            mean, variance = (draw(name, 12) for name in ("mean", "variance"))
            x = v1.nn.fused_batch_norm(x, ones, zeros, mean, tf.abs(variance) + 0.5, is_training=False)[0]
            x = tf.nn.relu(x)
        with v1.variable_scope("module/pool"):
            features = tf.reduce_mean(tf.nn.max_pool2d(x, 3, 2, "SAME"), [1, 2])
        with v1.variable_scope("module/logits"):
            x = tf.nn.conv2d(features[:, None, None, :], 3 * draw("kernel", 1, 1, 12, CLASSES), 1, "SAME")
            logits = tf.squeeze(tf.nn.bias_add(x, draw("bias", CLASSES)), [1, 2])
        session.run(v1.global_variables_initializer())
        predict = v1.saved_model.signature_def_utils.predict_signature_def
        classify = {"default": logits, "pool": features}
        signatures = {
            "image_classification": predict({"images": image}, classify),
            "default": predict({"images": image}, {"default": logits}),
        }
        with tempfile.TemporaryDirectory() as temporary:
            builder = v1.saved_model.Builder(temporary + "/model")
            builder.add_meta_graph_and_variables(session, ["train"], signatures)
            builder.add_meta_graph([], signatures)
            builder.save()
            zip_folder(Path(temporary) / "model", file)
        outputs: np.ndarray = session.run(logits, {image: images / np.float32(255)})
        return outputs


def write_refused(folder: Path) -> None:
    """SavedModels that no image backbone is made of: files written, strings, two inputs, a loop."""

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")])
    def write_a_file(image: tf.Tensor) -> tf.Tensor:
        written = tf.io.write_file("written_by_the_model", "content")
        with tf.control_dependencies([written]):
            return tf.reduce_mean(image, [1, 2])

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="jpeg")])
    def decode(jpeg: tf.Tensor) -> tf.Tensor:
        decoded = tf.map_fn(lambda one: tf.io.decode_jpeg(one, 3), jpeg, fn_output_signature=tf.uint8)
        return tf.reduce_mean(tf.cast(decoded, tf.float32), [1, 2])

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image"),
            tf.TensorSpec((None, 4), tf.float32, name="boxes"),
        ]
    )
    def take_two(image: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        return tf.concat([tf.reduce_mean(image, [1, 2]), boxes], 1)

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")])
    def loop(image: tf.Tensor) -> tf.Tensor:
        while tf.reduce_max(image) > 1.0:
            image = image / 2.0
        return tf.reduce_mean(image, [1, 2])

    for function in (write_a_file, decode, take_two, loop):
        name = function.__name__ if hasattr(function, "__name__") else function.python_function.__name__
        with tempfile.TemporaryDirectory() as temporary:
            module = tf.Module()
            module.__call__ = function
            tf.saved_model.save(module, temporary + "/model", signatures=function)
            zip_folder(Path(temporary) / "model", folder / f"refused_{name}.zip")


def write_keras2(folder: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Whole `.h5` files of Keras 2: Sequentials in a Sequential, as of Teachable Machine, and functions as layers."""
    import tf_keras

    old = tf_keras.layers
    tf_keras.utils.set_random_seed(11)
    image = old.Input((SIDE, SIDE, 3))
    x = old.Conv2D(8, 3, 2, "same", use_bias=False, name="stem")(image)
    x = old.BatchNormalization(name="stem_norm")(x)
    x = old.ReLU(6.0, name="stem_relu")(x)
    x = old.DepthwiseConv2D(3, 2, "same", name="depthwise")(x)
    x = old.Activation("relu", name="depthwise_relu")(x)
    x = old.Conv2D(24, 1, name="pointwise")(x)
    base = tf_keras.Model(image, x, name="base")
    features = tf_keras.Sequential([base, old.GlobalAveragePooling2D()], name="features")
    head = tf_keras.Sequential([old.Dense(16, activation="relu"), old.Dense(CLASSES, activation="softmax")])
    teachable = tf_keras.Sequential([features, head])
    teachable(images / 127.5 - 1)

    image = old.Input((SIDE, SIDE, 3))
    x = tf.math.truediv(image, 255.0)
    x = old.Conv2D(8, 3, 4, "same", name="stem")(x)
    x = old.BatchNormalization(name="stem_norm")(x)
    x = x * (tf.nn.relu6(x + 3.0) * (1.0 / 6.0))
    x = old.ZeroPadding2D(1)(x)
    x = x[:, 1:, 1:, :]
    x = old.SeparableConv2D(16, 3, activation="relu", name="separable")(x)
    x = tf.reduce_mean(x, [1, 2])
    functions = tf_keras.Model(image, old.Dense(CLASSES, name="logits")(x))

    outputs = {}
    for name, model, inputs in (("teachable", teachable, images / 127.5 - 1), ("functions", functions, images)):
        inputs = inputs.astype(np.float32)
        every = list(model._flatten_layers(include_self=False))
        for norm in (layer for layer in every if isinstance(layer, old.BatchNormalization)):
            norm.momentum = 0.0
        model(inputs, training=True)
        for norm in (layer for layer in every if isinstance(layer, old.BatchNormalization)):
            norm.momentum = 0.99
        last = next(layer for layer in reversed(every) if isinstance(layer, old.Dense))
        logits = model(inputs).numpy()
        logits = np.log(logits) if name == "teachable" else logits
        last.kernel.assign(last.kernel * SPREAD / logits.std(0).mean())
        model.save(folder / f"keras2_{name}.h5")
        outputs[f"keras2_{name}"] = model(inputs).numpy()
    return outputs


def write_tflite(folder: Path, name: str, model: keras.Model, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Write a network as TFLite of every kind."""
    default = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    half = default | {"target_spec": tf.lite.TargetSpec(supported_types=[tf.float16])}
    uint8 = default | {"inference_input_type": tf.uint8, "inference_output_type": tf.uint8}
    int8 = default | {"inference_input_type": tf.int8, "inference_output_type": tf.int8}
    kinds: dict[str, tuple[np.ndarray | None, dict[str, object]]] = {
        "": (None, {}),
        "_dynamic": (None, default),
        "_float16": (None, half),
        "_float_ends": (inputs, default),
        "_uint8": (inputs, uint8),
        "_int8": (inputs, int8),
    }
    outputs = {}
    for suffix, (measured, options) in kinds.items():
        content = convert(model, measured, **options)
        (folder / f"{name}{suffix}.tflite").write_bytes(content)
        outputs[f"{name}{suffix}.tflite"] = run_tflite(content, inputs)
    return outputs


def main(folder: Path) -> None:
    """Write every file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images = make_images(8, seed=0)
    raw = images.astype(np.float32)
    scaled = raw / np.float32(127.5) - np.float32(1)
    builders = {
        "mobile": (build_mobile, raw),
        "plain": (build_plain, scaled),
        "squeeze": (build_squeeze, raw),
        "attention": (build_attention, raw),
        "transferred": (build_transferred, raw),
        "headless": (build_headless, raw),
    }
    outputs: dict[str, np.ndarray] = {}
    for index, (name, (build, inputs)) in enumerate(builders.items()):
        keras.utils.set_random_seed(index)
        model = make_alive(build(), inputs)
        outputs[name] = model(inputs, training=False).numpy()
        write_saved_model(model, folder / f"{name}.zip")
        model.save(temporary := Path(tempfile.mkdtemp()) / f"{name}.keras")
        compress(temporary, folder / f"{name}.keras")
        if name in ("plain", "transferred"):
            model.save(folder / f"{name}.h5")
        if name == "mobile":
            outputs |= write_tflite(folder, name, model, inputs)
        else:
            (folder / f"{name}.tflite").write_bytes(content := convert(model, None))
            outputs[f"{name}.tflite"] = run_tflite(content, inputs)
        if name == "plain":
            model.save_weights(folder / "plain.weights.h5")
        if name == "squeeze":
            write_signatures(model, folder / "signatures.zip")
    outputs["module"] = write_module(folder / "module.zip", raw)
    outputs |= write_keras2(folder, raw)
    write_refused(folder)
    image = layers.Input((SIDE, SIDE, 3))
    called = layers.Lambda(lambda x: ops.mean(x, (1, 2)), name="average")(image)
    keras.Model(image, layers.Dense(CLASSES)(called)).save(folder / "refused_lambda.keras")
    np.savez_compressed(folder / "expected.npz", images=images, **outputs)


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if sys.argv[1:] else Path(__file__).parents[1] / "tests" / "material" / "tensorflow")
