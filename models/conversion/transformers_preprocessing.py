"""Preprocessing of a transformers folder: measured on the image processor itself, not read from its settings.

Each architecture's processor understands its settings in its own way (crop_pct, rescale_offset, BGR, a resize by
256/224), so it is run on images of one colour, which show mean, standard deviation and channel order, and on textures,
on which resizing and cropping as Graft does them are compared with it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from models.conversion.converted import PreprocessingFacts
from models.conversion.errors import FileBroken
from models.conversion.transformers_files import PROCESSORS, read_json
from models.images.preprocessing import CROP_PCTS, MAX_SIDE, MIN_SIDE, Preprocessing
from models.images.views import Views

if TYPE_CHECKING:
    from models.conversion.transformers_files import TransformersFolder

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of interpolations."""
SHAPES = ((300, 420), (512, 360), (240, 320))
"""Heights and widths of the textures."""
OLD_SUFFIX = "FeatureExtractor"
"""What the names of image processors once ended in."""
CLOSE = 1e-3
"""Largest difference of a measured mean or standard deviation and the stated one that is rounding."""
ACCEPTED = 0.02
"""Largest mean difference of pixels, from 0 to 1, between the processor and Graft's resizing."""


@dataclass(frozen=True)
class Measured:
    """Facts of a folder's preprocessing, as measured."""

    facts: PreprocessingFacts
    notes: list[str]


def measure(files: TransformersFolder, image_size: tuple[int, int] | None) -> Measured:
    """Measure the preprocessing of a folder, whose network is made for images (H, W) of `image_size`, if it says so.

    Raises FileBroken.
    """
    own = None if image_size is None else (3, *image_size)
    if not files.has_processor:
        note = "No preprocessor_config.json says how images are prepared."
        return Measured(PreprocessingFacts(input_size=own), [note])
    processor = _load(files)
    if getattr(processor, "max_num_patches", None) is not None:
        return _state(processor, own)
    try:
        return _measure(processor, own)
    except Exception as error:  # each processor raises errors of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        note = f"The {type(processor).__name__} could not be run ({reason}): how images are prepared is not known."
        return Measured(PreprocessingFacts(input_size=own), [note])


def _load(files: TransformersFolder) -> Any:
    try:
        loader = _find_renamed(files)
        return loader.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each processor checks its settings in its own way
        told = str(error).replace(str(files.folder), "the folder")
        reason = " ".join(f"{type(error).__name__}: {told}".split())[:300]
        raise FileBroken(
            f"No image processor can be built of the preprocessor_config.json ({reason}). Save it again with "
            "save_pretrained, or leave it out and state the preprocessing yourself."
        ) from error


def _find_renamed(files: TransformersFolder) -> Any:
    """Find the class that reads the settings: transformers 4.26 wrote names in them that transformers 5 lacks.

    ViTFeatureExtractor is ViTImageProcessor since. It finds that itself where the name is a `feature_extractor_type`.
    """
    import transformers

    file = files.folder / PROCESSORS[0]
    name = str(read_json(file).get("image_processor_type", "")) if file.exists() else ""
    renamed = f"{name.removesuffix(OLD_SUFFIX)}ImageProcessor"
    if name.endswith(OLD_SUFFIX) and name.isidentifier() and hasattr(transformers, renamed):
        return getattr(transformers, renamed)
    return transformers.AutoImageProcessor


def _state(processor: Any, own: tuple[int, int, int] | None) -> Measured:
    """State the preprocessing of images that are given as patches: every shape is taken, Graft makes them square."""
    name = type(processor).__name__
    facts = PreprocessingFacts(
        input_size=own,
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        interpolation=_get_interpolation(processor),
        crop_pct=1.0,
        channel_order="rgb",
        crop_mode="squash",
        evidence=(f"{name}: mean and standard deviation as it states them.",),
    )
    return Measured(facts, [f"{name} keeps the aspect ratio of images; here all are resized to {own}."])


def _measure(processor: Any, own: tuple[int, int, int] | None) -> Measured:
    name = type(processor).__name__
    black, white = (_run(processor, _fill((level,) * 3, SHAPES[0])) for level in (0, 255))
    red = _run(processor, _fill((255, 0, 0), SHAPES[0]))
    order: Literal["rgb", "bgr"] = "rgb" if abs(red - black)[0].max() > abs(red - black)[2].max() else "bgr"
    middle = (slice(None), black.shape[1] // 2, black.shape[2] // 2)
    low, high = black[middle].astype(np.float64), white[middle].astype(np.float64)
    std = 1 / (high - low)
    mean = -low * std
    if order == "bgr":
        mean, std = mean[::-1], std[::-1]
    stated_mean, stated_std = _prefer(mean, processor, "image_mean"), _prefer(std, processor, "image_std")
    textures = [_draw_texture(shape, seed) for seed, shape in enumerate(SHAPES)]
    outputs = [_run(processor, texture) for texture in textures]
    is_fixed = len({output.shape for output in outputs}) == 1
    size = outputs[0].shape if is_fixed else own
    facts = PreprocessingFacts(
        input_size=size,
        mean=stated_mean,
        std=stated_std,
        interpolation=_get_interpolation(processor),
        channel_order=order,
    )
    if not is_fixed or size is None or not _is_possible(size):
        note = f"The {name} gives images of several sizes; here all have the network's own, cut from their centre."
        return Measured(replace(facts, crop_pct=1.0, crop_mode="center"), [note])
    pixels = [_to_pixels(output, mean, std, order) for output in outputs]
    found = min(
        (_compare(facts, *geometry, textures, pixels) for geometry in _list_geometries(processor, size)), key=_by_mean
    )
    greatest, average, crop_mode, crop_pct = found
    about = (
        f"Compared with {name} itself on {len(textures)} images, pixels from 0 to 1 differ by {greatest:.3f} at most "
        f"and by {average:.4f} on average."
    )
    if average > ACCEPTED:
        note = f"{about} So it prepares images in a way that Graft cannot: state the preprocessing yourself."
        return Measured(replace(facts, interpolation=None), [note])
    return Measured(replace(facts, crop_pct=crop_pct, crop_mode=crop_mode, evidence=(about,)), [about])


def _by_mean(found: tuple[float, float, str, float]) -> float:
    return found[1]


def _run(processor: Any, image: Image.Image) -> np.ndarray:
    """Run the processor on an image; returns (3, H, W)."""
    output = processor(image, return_tensors="np")["pixel_values"][0]
    result = np.asarray(output)
    if result.ndim != 3 or result.shape[0] != 3:
        raise ValueError(f"it gives values of the shape {result.shape}, and no image of three channels")
    return result


def _fill(colour: tuple[int, int, int], shape: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", shape[::-1], colour)


def _draw_texture(shape: tuple[int, int], seed: int) -> Image.Image:
    """Draw an image whose spectrum falls with the frequency, as that of photographs."""
    random = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None]) + 1 / max(shape)
    noise = np.fft.fft2(random.standard_normal((3, *shape))) / frequencies
    drawn = np.fft.ifft2(noise).real
    scaled = 128 + 50 * drawn / drawn.std((1, 2), keepdims=True)
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _prefer(measured: np.ndarray, processor: Any, name: str) -> tuple[float, float, float]:
    """Prefer the stated numbers to those that were measured, which are rounded, where the two are the same."""
    stated = getattr(processor, name, None)
    values = [float(value) for value in np.broadcast_to(stated, 3)] if stated is not None else [0.0] * 3
    if not np.allclose(values, measured, rtol=CLOSE, atol=CLOSE * 0.1):
        values = [float(f"{value:.6g}") if abs(value) > CLOSE * 0.1 else 0.0 for value in measured]
    return values[0], values[1], values[2]


def _get_interpolation(processor: Any) -> str | None:
    resample = getattr(processor, "resample", None)
    return INTERPOLATIONS.get(int(resample)) if isinstance(resample, int) else getattr(resample, "value", None)


def _is_possible(size: tuple[int, ...]) -> bool:
    return MIN_SIDE <= max(size[1:]) <= MAX_SIDE


def _list_geometries(processor: Any, size: tuple[int, ...]) -> list[tuple[str, float]]:
    """List ways of resizing and cropping that settings of a processor may mean, as (crop_mode, crop_pct)."""
    given = getattr(processor, "size", None) or {}
    sides = [given.get(key) for key in ("shortest_edge", "height", "width")] if hasattr(given, "get") else []
    shares = {1.0, 224 / 256, getattr(processor, "crop_pct", None) or 1.0}
    shares |= {size[1] / side for side in sides if side}
    shares |= {size[1] / int(side * 256 / 224) for side in sides if side}
    allowed = sorted(share for share in shares if CROP_PCTS[0] <= share <= CROP_PCTS[1])
    return list(itertools.product(("center", "squash"), allowed))


def _to_pixels(output: np.ndarray, mean: np.ndarray, std: np.ndarray, order: str) -> np.ndarray:
    """Undo the normalization: (3, H, W) red, green and blue from 0 to 1."""
    plain = output[::-1] if order == "bgr" else output
    pixels: np.ndarray = plain * std[:, None, None] + mean[:, None, None]
    return pixels


def _compare(
    facts: PreprocessingFacts, crop_mode: str, crop_pct: float, textures: list[Image.Image], pixels: list[np.ndarray]
) -> tuple[float, float, str, float]:
    """Compare Graft's rendering with the processor's: the greatest and the mean difference of a pixel, from 0 to 1.

    The two round half a pixel in different directions when they crop, so a shift by one pixel does not count.
    """
    assert facts.input_size is not None
    cfg = {"input_size": facts.input_size, "interpolation": facts.interpolation or "bilinear"}
    views = Views(Preprocessing.from_config({**cfg, "crop_pct": crop_pct, "crop_mode": crop_mode}), [])
    greatest, means = 0.0, []
    for texture, expected in zip(textures, pixels, strict=True):
        difference = compare_shifted(views.render(texture, b"", 0) / 255, expected)
        greatest = max(greatest, float(difference.max()))
        means.append(float(difference.mean()))
    return greatest, float(np.mean(means)), crop_mode, crop_pct


def compare_shifted(rendered: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Compute the differences of two images (3, H, W), one of them shifted by up to a pixel so that they are least."""
    inner = expected[:, 1:-1, 1:-1]
    high, wide = inner.shape[1:]
    shifted = (
        np.abs(rendered[:, down : down + high, right : right + wide] - inner)
        for down, right in itertools.product(range(3), repeat=2)
    )
    return min(shifted, key=np.mean)
