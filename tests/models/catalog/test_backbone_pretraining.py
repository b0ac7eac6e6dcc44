"""Methods that pretrain a whole backbone, as requests name them."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from models.catalog.augmentations import Blur, Colour, Crop, Grayscale, HorizontalFlip
from models.catalog.backbone_pretraining import BackboneMethod, Contrastive, Supervised
from models.catalog.technique import members

METHOD: TypeAdapter[BackboneMethod] = TypeAdapter(BackboneMethod)


@pytest.mark.parametrize("method", members(BackboneMethod))
def test_a_method_is_named_by_its_kind_and_has_a_paper(method: type) -> None:
    made = method()
    assert METHOD.validate_python(made.kind) == made
    assert METHOD.validate_json(made.model_dump_json()) == made
    assert method.__doc__ is not None
    assert re.search(r"\(.*, (19|20)\d\d\)", method.__doc__)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("dino", "the expected tags: 'contrastive', 'masked', 'denoising', 'supervised'"),
        ({"kind": "masked", "share": 1.0}, "less than 1"),
        ({"kind": "masked", "temperature": 1.0}, "the fields here are"),
        ({"kind": "contrastive", "batch_size": 1}, "greater than or equal to 2"),
    ],
)
def test_what_is_wrong_is_named(given: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        METHOD.validate_python(given)


def test_views_are_random_crops_and_flips() -> None:
    assert [type(each) for each in Supervised().list_augmentations()] == [Crop, HorizontalFlip]
    kinds = [type(each) for each in Contrastive().list_augmentations()]
    assert kinds == [Crop, HorizontalFlip, Colour, Grayscale, Blur]
    assert len(Contrastive(colour=0.0).list_augmentations()) == 2
