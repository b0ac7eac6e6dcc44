"""Networks of transformers in the coverage: converted to the same outputs and cut to the bit, or a reason why not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from models.conversion.transformers_reader import read
from tools.transformers_checks import PREFIX, OutputsDiffer, check_conversion, list_networks, measure_difference
from tools.transformers_networks import CLASSIFIERS, build, write

if TYPE_CHECKING:
    from pathlib import Path

NOT_TRIED = {"ShieldGemma2ForImageClassification"}
"""A language model that looks at an image and a policy."""


def test_a_network_is_converted_and_cut() -> None:
    row = check_conversion(f"{PREFIX}resnet")
    assert (row["class"], row["structure"], row["numbers"]) == ("ResNetForImageClassification", "graph", "equal")
    assert row["cuts"] > 10
    assert float(row["difference"]) <= 1e-5
    assert float(row["spread"]) > 0.01


def test_what_cannot_be_read_is_a_row_with_its_reason() -> None:
    row = check_conversion(f"{PREFIX}imagegpt")
    assert row["structure"] == "refused"
    assert row["reason"].startswith("input_size_unsupported: The network does not take images")


def test_outputs_that_differ_are_found(tmp_path: Path) -> None:
    write(tmp_path, build(*CLASSIFIERS["vit"]))
    converted = read(tmp_path)
    assert measure_difference(converted) <= 1e-5
    other = read(write(tmp_path / "other", build(*CLASSIFIERS["deit"])))
    with pytest.raises(OutputsDiffer, match="differ from the original's by"):
        measure_difference(replace(converted, original=other.original))


def test_every_classifier_of_transformers_is_tried() -> None:
    named = [
        [names] if isinstance(names, str) else names for names in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.values()
    ]
    assert {name for names in named for name in names} - NOT_TRIED == {name for name, _ in CLASSIFIERS.values()}
    assert len(list_networks()) == len(set(list_networks()))
