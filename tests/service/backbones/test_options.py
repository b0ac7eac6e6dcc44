"""Options of an import: facts that a later request brings, and their description."""

from __future__ import annotations

from service.backbones.options import ImportOptions


def test_later_facts_come_before_earlier_ones() -> None:
    earlier = ImportOptions.model_validate(
        {"architecture": "resnet18", "preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1]}, "labels": ["a"]}
    )
    later = ImportOptions.model_validate({"preprocessing": {"std": [2, 2, 2]}, "labels": "b\nc\n"})
    assert earlier.updated_by(later).model_dump(exclude_none=True) == {
        "architecture": "resnet18",
        "preprocessing": {"mean": (0, 0, 0), "std": (2, 2, 2)},
        "labels": ["b", "c"],
    }
    tried = ImportOptions.model_validate({"preprocessing": "from_samples"})
    assert earlier.updated_by(tried).preprocessing == "from_samples"
    assert tried.updated_by(later).preprocessing == later.preprocessing
    assert earlier.updated_by(ImportOptions()) == earlier
