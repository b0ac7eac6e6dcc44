"""Preprocessing of an imported backbone's images, as its user states it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Channel = Annotated[float, Field(allow_inf_nan=False)]
PositiveChannel = Annotated[float, Field(ge=1e-6, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=16, le=2048)]
Interpolation = Literal["bilinear", "bicubic", "nearest", "box", "hamming", "lanczos"]
LARGEST = 5.0
"""Largest mean and deviation of values from 0 to 1; those of values from 0 to 255 are far above, 104 and 57."""


class GivenPreprocessing(BaseModel):
    """Preprocessing that a network was trained with, as far as its user knows; the file's own facts fill the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mean: tuple[Channel, Channel, Channel] | None = None
    """Mean that is subtracted from each of red, green and blue, for values from 0 to 1: 0.485, 0.456, 0.406."""
    std: tuple[PositiveChannel, PositiveChannel, PositiveChannel] | None = None
    """Divisor of red, green and blue after that. A network that takes values from 0 to 255 has mean 0 and std 1/255."""
    input_size: tuple[Literal[3], Side, Side] | None = None
    """Channels, height and width of the network's input."""
    interpolation: Interpolation | None = None
    """How images are resized."""
    crop_pct: Annotated[float, Field(ge=0.25, le=2.0)] | None = None
    """Share of the resized image's shorter side that the input shows."""
    crop_mode: Literal["center", "squash", "border"] | None = None
    """Whether images are cropped to the input's aspect ratio, squashed to it, or given borders."""
    channel_order: Literal["rgb", "bgr"] | None = None
    """Order in which the network takes the channels; mean and std are given for red, green and blue all the same."""

    @field_validator("mean", "std")
    @classmethod
    def _check_range(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        """Refuse what was meant for values from 0 to 255: images would all look the same to the network."""
        if value is not None and max(map(abs, value)) > LARGEST:
            shown = ", ".join(f"{one / 255:.4g}" for one in value)
            raise ValueError(
                f"{', '.join(f'{one:g}' for one in value)} are of values from 0 to 255; they are to be those of values "
                f"from 0 to 1, so divide mean and std by 255: {shown}"
            )
        return value
