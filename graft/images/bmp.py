"""BMP files whose colour masks Pillow does not know, as copies with masks that it knows."""

from __future__ import annotations

import struct

import numpy as np

BITFIELDS = (3, 6)
"""Compressions that mean: pixels as they are, with colour masks."""
PIXEL_TYPES = {16: "<u2", 32: "<u4"}
MASKS_AT = 54
"""Place of the masks, in the header or after it."""
KNOWN_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def with_known_masks(data: bytes) -> bytes | None:
    """Copy a BMP of 16 or 32 bits a pixel as one of 8 bits a channel; None if it has no masks."""
    if len(data) < MASKS_AT + 16 or not data.startswith(b"BM"):
        return None
    start, header, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if compression not in BITFIELDS or bits not in PIXEL_TYPES or width <= 0:
        return None
    has_alpha = header >= 56 or compression == max(BITFIELDS)
    masks = struct.unpack_from("<4I" if has_alpha else "<3I", data, MASKS_AT)
    per_row = -(-width * bits // 32) * 32 // bits
    pixels = np.frombuffer(data, PIXEL_TYPES[bits], per_row * abs(height), start).reshape(-1, per_row)[:, :width]
    channels = [_extract(pixels, mask) for mask in masks]
    alpha = channels[3:] or [np.zeros(pixels.shape, np.uint8)]
    kept = [*KNOWN_MASKS[:3], KNOWN_MASKS[3] if has_alpha and masks[3] else 0]
    body = np.stack([*channels[2::-1], *alpha], axis=-1).tobytes()
    copy = struct.pack("<IiiHHI", 108, width, height, 1, 32, 3) + bytes(20) + struct.pack("<4I", *kept)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 108) + copy.ljust(108, b"\0") + body


def _extract(pixels: np.ndarray, mask: int) -> np.ndarray:
    """Extract a channel and scale it to 8 bits."""
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    values = (pixels & mask) >> shift
    if most > 0xFF:
        return (values >> most.bit_length() - 8).astype(np.uint8)
    return ((values.astype(np.uint32) * 0xFF + most // 2) // most).astype(np.uint8)
