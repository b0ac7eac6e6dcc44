"""Errors of backbones. Each message says what to do."""

from __future__ import annotations

from typing import ClassVar


class BackboneError(Exception):
    """The backbone cannot be used."""

    code: ClassVar[str] = "backbone_error"
    """The error's name in the API."""


class BackboneUnknown(BackboneError):
    """No source has a backbone of this name."""

    code = "backbone_unknown"


class ConfigurationBroken(BackboneError):
    """The backbone's config.json describes no network that timm can build."""

    code = "configuration_broken"


class WeightsUnavailable(BackboneError):
    """The weights cannot be downloaded: the Hub is offline or out of reach, or access is gated."""

    code = "weights_unavailable"


class WeightsUnsafe(BackboneError):
    """The weights come only as a pickle, which may run code when it is read."""

    code = "weights_unsafe"


class WeightsBroken(BackboneError):
    """The file of weights is truncated or damaged."""

    code = "weights_broken"


class WeightsUnfit(BackboneError):
    """The weights do not fit the architecture."""

    code = "weights_unfit"


class BackboneTooLarge(BackboneError):
    """The network does not fit the worker's memory."""

    code = "backbone_too_large"


class FileMissing(BackboneError):
    """The repository of the Hub lacks a file."""

    code = "file_missing"


class DiskTooSmall(BackboneError):
    """The disk has too little room for the weights."""

    code = "disk_too_small"


class NoBackboneUsable(BackboneError):
    """None of several backbones can be used."""

    code = "no_backbone_usable"


class BackboneUnsupported(BackboneError):
    """The network is none that can be converted; each reason has a code of its own."""

    code = "backbone_unsupported"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]
