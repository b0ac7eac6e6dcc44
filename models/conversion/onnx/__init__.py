"""ONNX: the reader of models, the converter of each operator, and the original's runtime."""

from importlib.util import find_spec

from models.conversion.errors import ExtraMissing

if find_spec("onnx") is None:
    raise ExtraMissing.of("onnx")
