"""The range of numbers that a network takes, from what it does first: a Rescaling or Normalization inside counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.conversion.pixel_range import find_largest_pixel

PASSING = ("Convert", "FakeQuantize", "Transpose", "Clamp", "Pad")
ARITHMETIC = ("Multiply", "Divide", "Add", "Subtract")


def find_largest_number(parameter: Any) -> float | None:
    """Find the largest number that the images hold, 255 or 1, from the normalization that the network begins with.

    None if it begins with none, or with one that says nothing. `parameter` is the input of a model that is not
    simplified yet.
    """
    slope, shift = _find_normalization(parameter)
    return find_largest_pixel(slope.tolist(), shift.tolist())


def only_user(node: Any) -> Any:
    """Get the one operator that reads a value; None if there are several."""
    users = [port.get_node() for port in node.output(0).get_target_inputs()]
    return users[0] if len(users) == 1 else None


def _find_normalization(parameter: Any) -> tuple[np.ndarray, np.ndarray]:
    """Collect slope and shift of what is done with the images and constants before anything else happens to them."""
    node, slope, shift = parameter, np.ones(1), np.zeros(1)
    while (user := only_user(node)) is not None:
        kind = user.get_type_name()
        constant = _read_constant(user, node) if kind in ARITHMETIC else None
        if constant is not None:
            slope, shift = _apply(kind, constant, slope, shift)
        elif kind not in PASSING:
            break
        node = user
    return slope, shift


def _apply(kind: str, constant: np.ndarray, slope: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if kind in ("Add", "Subtract"):
        return slope, shift + (constant if kind == "Add" else -constant)
    factor = constant if kind == "Multiply" else 1 / np.where(constant == 0, 1e-12, constant)
    return slope * factor, shift * factor


def _read_constant(node: Any, images: Any) -> np.ndarray | None:
    """Compute the constant of an operation with the images, a number for each channel or one for all; else None."""
    places = (1,) if node.get_type_name() in ("Divide", "Subtract") else (1, 0)
    for index in places:
        source = node.input_value(index).get_node()
        if source.get_name() != images.get_name():
            constant = evaluate(source)
            return None if constant is None or constant.size not in (1, 3) else constant.reshape(-1)
    return None


def evaluate(node: Any) -> np.ndarray | None:
    """Compute a constant that dequantizes, or is reshaped from, another; None if it depends on the images."""
    kind = node.get_type_name()
    if kind == "Constant":
        return np.array(node.get_data(), dtype=np.float64)
    inputs = [node.input_value(index).get_node() for index in range(node.get_input_size())]
    if kind in ("Convert", "Unsqueeze", "Reshape", "Transpose", "Squeeze", "Broadcast", "Negative"):
        source = evaluate(inputs[0])
        return source if source is None or kind != "Negative" else -source
    if kind in ("Multiply", "Subtract", "Divide", "Add"):
        first, second = (evaluate(source) for source in inputs)
        if first is None or second is None or max(first.size, second.size) > 3:
            return None
        function = {"Multiply": np.multiply, "Subtract": np.subtract, "Divide": np.divide, "Add": np.add}[kind]
        result: np.ndarray = function(first.reshape(-1), second.reshape(-1))
        return result
    return None
