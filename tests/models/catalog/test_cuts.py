"""Cuts: where they lie in a backbone, and what above them is trained when."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from models.catalog.cuts import All, CandidateCut, Cut, CutUnknown, Fraction, Gradual, Nothing, Stage, Top, find_stages
from models.catalog.technique import members
from models.networks.candidate_cuts import list_candidate_cuts
from models.networks.cut_network import cut_at
from models.networks.feature_network import cut_before_classifier
from tests.support.networks import network

MEMBERS: tuple[Any, ...] = members(Cut)
TRAINED = [member for member in MEMBERS if member.trains]

CANDIDATES = [
    CandidateCut("stem.conv", "stem", 10),
    CandidateCut("stem.act", "stem", 10),
    CandidateCut("layer1.0", "layer1", 30),
    CandidateCut("layer1.1", "layer1", 50),
    CandidateCut("layer2.0", "layer2", 70),
    CandidateCut("norm", "norm", 70),
    CandidateCut("layer3.0", "layer3", 95),
    CandidateCut("layer3.1", "layer3", 100),
    CandidateCut("pool", "pool", 100),
    CandidateCut("flatten", "flatten", 100),
]
"""A backbone of four stages, a norm and a pool among them."""

STAGES = {
    "test_resnet": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "test_vit": ["patch_embed", *(f"blocks.{number}" for number in range(6))],
}


@cache
def real(name: str) -> list[CandidateCut]:
    """List the candidate cuts of a network of timm."""
    made = network(name)
    size = tuple(made.pretrained_cfg["input_size"])
    return list_candidate_cuts(cut_before_classifier(made, size, {}))


def test_stages_are_what_computes_and_end_after_the_norms_and_pools_that_follow() -> None:
    assert {stage: place.name for stage, place in find_stages(CANDIDATES).items()} == {
        "stem": "stem.act",
        "layer1": "layer1.1",
        "layer2": "norm",
        "layer3": "flatten",
    }


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_a_real_network_are_its_own(name: str) -> None:
    found = find_stages(real(name))
    assert list(found) == STAGES[name]
    costs = [place.multiply_adds_below for place in found.values()]
    assert costs == sorted(set(costs)), "each computes something"
    assert list(found.values())[-1] == real(name)[-1], "the last ends before the classifier"


@pytest.mark.parametrize(
    ("cut", "place"),
    [
        (Stage(name="stem"), "stem.act"),
        (Stage(name="layer1"), "layer1.1"),
        (Stage(name="layer1.0"), "layer1.0"),
        (Stage(name="layer2"), "norm"),
        (Stage(name="norm"), "norm"),
        (Stage(name="pool"), "pool"),
        (Stage(name="layer3"), "flatten"),
        (Top(stages=1), "norm"),
        (Top(stages=2), "layer1.1"),
        (Top(stages=3), "stem.act"),
        (Gradual(stages=2), "layer1.1"),
        (Fraction(frozen=1.0), "flatten"),
        (Fraction(frozen=0.99), "layer3.0"),
        (Fraction(frozen=0.95), "layer3.0"),
        (Fraction(frozen=0.94), "norm"),
        (Fraction(frozen=0.5), "layer1.1"),
        (Fraction(frozen=0.1), "stem.act"),
        (Nothing(), None),
    ],
)
def test_lies_where_it_should(cut: Any, place: str | None) -> None:
    assert cut.choose(CANDIDATES) == place


@pytest.mark.parametrize("name", STAGES)
def test_lies_where_it_should_in_a_real_network(name: str) -> None:
    found, own = find_stages(real(name)), STAGES[name]
    ends = {stage: place.name for stage, place in found.items()}
    for stage in own:
        assert Stage(name=stage).choose(real(name)) == ends[stage]
    for count in range(1, len(own)):
        assert Top(stages=count).choose(real(name)) == Gradual(stages=count).choose(real(name)) == ends[own[-count - 1]]
    total = real(name)[-1].multiply_adds_below
    for share in (0.3, 0.5, 0.8, 1.0):
        chosen = Fraction(frozen=share).choose(real(name))
        below = {place.name: place.multiply_adds_below for place in real(name)}
        assert below[chosen] == max(cost for cost in below.values() if cost <= share * total)


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_above_a_cut_are_those_that_it_names(name: str) -> None:
    made = network(name)
    size = tuple(made.pretrained_cfg["input_size"])
    feature_network = cut_before_classifier(made, size, {})
    cut_network = cut_at(feature_network, Top(stages=2))
    assert [stage.name for stage in cut_network.stages] == STAGES[name][:-3:-1]
    assert cut_network.cut == Top(stages=2).choose(real(name))


@pytest.mark.parametrize("technique", [Top, Gradual])
def test_more_stages_than_there_are_are_answered_by_those_there_are(technique: type[Any]) -> None:
    with pytest.raises(CutUnknown, match=r"has 4 stages \(stem, layer1, layer2, layer3\); train fewer .* cut: none"):
        technique(stages=4).choose(CANDIDATES)


@pytest.mark.parametrize("name", [None, *STAGES])
def test_a_share_with_nothing_to_freeze_is_answered_by_the_least_there_is(name: str | None) -> None:
    candidates = CANDIDATES if name is None else real(name)
    with pytest.raises(CutUnknown, match=r"set cut\.frozen to \d\.\d+ or more, or cut to none") as refused:
        Fraction(frozen=1e-9).choose(candidates)
    least = float(re.findall(r"cut\.frozen to (\S+)", str(refused.value))[0])
    assert Fraction(frozen=least).choose(candidates) is not None
    with pytest.raises(CutUnknown):
        Fraction(frozen=max(1e-9, least - 0.01)).choose(candidates)


def test_an_unknown_stage_is_answered_by_those_there_are() -> None:
    with pytest.raises(CutUnknown, match="no stage or cut layer9; its stages are stem, layer1, layer2, layer3"):
        Stage(name="layer9").choose(CANDIDATES)


def test_gradual_unfreezing_trains_one_stage_more_each_few_epochs() -> None:
    gradual = Gradual(stages=2, every=3)
    assert [gradual.count_unfrozen(epoch, 2) for epoch in range(1, 12)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("technique", [technique for technique in TRAINED if technique is not Gradual])
def test_the_others_train_all_stages_from_the_start(technique: type[Any]) -> None:
    cut = technique.model_validate({"name": "layer3"} if technique is Stage else {})
    assert [cut.count_unfrozen(epoch, 3) for epoch in (1, 2, 50)] == [3, 3, 3]


def test_all_trains_nothing_of_the_backbone() -> None:
    assert not All.trains
    assert set(TRAINED) == {Stage, Top, Fraction, Nothing, Gradual}
