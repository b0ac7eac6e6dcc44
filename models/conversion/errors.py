"""Errors of files that cannot be converted: each says what is wrong and what to export instead."""

from __future__ import annotations

from typing import ClassVar


class ConversionError(Exception):
    """The file cannot become a backbone."""

    code: ClassVar[str] = "conversion_error"
    """The error's name in the API."""


class UnsupportedOperator(ConversionError):
    """The network uses an operator, or a variant of one, that has no counterpart here."""

    code = "unsupported_operator"


class UnsupportedModel(ConversionError):
    """The network as a whole is none that can be used: several inputs, three dimensions, external data, …."""

    code = "unsupported_model"


class FileBroken(ConversionError):
    """The file is no valid file of its format."""

    code = "file_broken"


class ExtraMissing(ConversionError):
    """A library that reads or runs the format is not installed."""

    code = "extra_missing"

    @classmethod
    def of(cls, library: str) -> ExtraMissing:
        """Name the library and the command that installs it."""
        return cls(
            f"This server lacks {library}, which reads files of this format. Its operator installs it with: "
            "pip install 'graft[import]'"
        )


class WeightsUnfit(ConversionError):
    """The weights are of another architecture than the named one."""

    code = "weights_unfit"


class WeightsUnsafe(ConversionError):
    """The weights come only in a format that may run code when it is read."""

    code = "weights_unsafe"


class SizeUnsupported(UnsupportedModel):
    """The network does not take images of the size that is asked for."""

    code = "input_size_unsupported"


class ModelTooLarge(ConversionError):
    """The network does not fit the memory."""

    code = "backbone_too_large"
