"""Options of imports, from a query, a form or JSON: facts that an uploaded file lacks; and those of pretrainings."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from models.catalog.backbone_pretraining import BackboneMethod, Contrastive
from models.catalog.preprocessing import GivenPreprocessing
from models.catalog.technique import StrictModel
from service.types import Text

MAX_LABELS = 100_000
FIELD_BYTES = {"name": 1024, "format": 1024, "architecture": 1024, "preprocessing": 1 << 16, "labels": 8 << 20}
"""Fields of a form, with the most bytes of each."""


def _parse_preprocessing(value: Any) -> Any:
    """Parse the JSON that a parameter or a field holds as text."""
    if not isinstance(value, str) or value.strip() == "from_samples":
        return value.strip() if isinstance(value, str) else value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(
            f'no JSON ({error}); send an object such as {{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}'
        ) from None


def _parse_labels(value: Any) -> Any:
    """Parse a JSON list, or lines with a label each."""
    if not isinstance(value, str):
        return value
    text = value.strip("\ufeff\r\n \t")
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"no JSON list ({error}); send one, or a line for each label") from None
    return [line.strip() for line in text.splitlines()]


FACTS, SAMPLES = "facts", "from_samples"
_Preprocessing = Annotated[
    Annotated[GivenPreprocessing, Tag(FACTS)] | Annotated[Literal["from_samples"], Tag(SAMPLES)],
    Discriminator(lambda value: SAMPLES if isinstance(value, str) else FACTS),
]


class ImportOptions(StrictModel):
    """Facts that an uploaded file lacks. Those that it holds need not be repeated."""

    format: Text | None = None
    """The file's format, if it must be this one; else it is seen from the content."""
    architecture: Text | None = None
    """Architecture of a file that holds weights alone: one of timm's, such as resnet18.a1_in1k, or torchvision/NAME."""
    preprocessing: Annotated[_Preprocessing | None, BeforeValidator(_parse_preprocessing)] = None
    """How images were prepared when the network was trained; from_samples takes what fits the samples best."""
    labels: Annotated[
        list[Annotated[Text, Field(min_length=1)]] | None,
        Field(min_length=1, max_length=MAX_LABELS),
        BeforeValidator(_parse_labels),
    ] = None
    """Names of the classes of the network's own classifier, in its order: a list, or lines of text."""

    def updated_by(self, later: ImportOptions) -> ImportOptions:
        """Build the options with the facts of a later request in place of those of an earlier one.

        Each fact of the preprocessing counts by itself.
        """
        given = later.model_dump(exclude_none=True)
        old, new = self.preprocessing, later.preprocessing
        if isinstance(old, GivenPreprocessing) and isinstance(new, GivenPreprocessing):
            given["preprocessing"] = {**old.model_dump(exclude_none=True), **given["preprocessing"]}
        return ImportOptions.model_validate({**self.model_dump(exclude_none=True), **given})


class PretrainingOptions(StrictModel):
    """Images, the backbone to start from, and how to pretrain it."""

    dataset: Text
    """Id of a dataset that is ready. Images that a job with the default fractions would validate or test on are left
    out. Labels are needed by the method supervised alone."""
    source: Text = Field(alias="from")
    """Id of the backbone to start from."""
    method: BackboneMethod = Contrastive()
    """What is learned; a method's name, or an object with its `kind` and options."""
    image_size: Annotated[int | None, Field(ge=16, le=2048)] = None
    """Longer side of the images, in pixels, which the new backbone takes then; null: that of the backbone's own."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of all random choices: the same request gives the same backbone."""


class PretrainingCreate(StrictModel):
    """A request to pretrain a backbone on the images of a dataset."""

    pretrain: PretrainingOptions
    name: Text = ""
    """A name for people."""
